package command

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

func infoServer(n *Node, w *infoWriter) {
	now := time.Now()
	up := now.Sub(n.Started)
	revision, dirty := buildRevision()
	executable, _ := os.Executable()
	w.field("redis_version", RedisVersion)
	w.field("cairn_version", n.Version)
	w.field("redis_git_sha1", revision)
	w.flag("redis_git_dirty", dirty)
	w.field("redis_build_id", revision)
	w.field("redis_mode", n.mode())
	w.field("os", operatingSystem())
	w.field("arch_bits", 32<<(^uint(0)>>63))
	w.field("monotonic_clock", "POSIX clock_gettime")
	w.field("multiplexing_api", multiplexing)
	w.field("atomicvar_api", "sync/atomic")
	w.field("gcc_version", "0.0.0")
	w.field("go_version", strings.TrimPrefix(runtime.Version(), "go"))
	w.field("process_id", os.Getpid())
	w.field("process_supervised", "no")
	w.field("run_id", n.RunID)
	w.field("tcp_port", n.Config.Port())
	w.field("server_time_usec", now.UnixMicro())
	w.field("uptime_in_seconds", int64(up.Seconds()))
	w.field("uptime_in_days", int64(up.Hours()/24))
	w.field("hz", n.Config.HZ())
	w.field("configured_hz", n.Config.HZ())
	w.field("lru_clock", now.Unix()&(1<<24-1))
	w.field("executable", executable)
	w.field("config_file", n.Config.File())
	w.flag("io_threads_active", n.Config.IOThreads() > 1)
	for i, l := range n.listeners() {
		w.field(fmt.Sprintf("listener%d", i), l)
	}
}

// listeners describes what the server listens on, in Redis's form.
func (n *Node) listeners() (all []string) {
	if port := n.Config.Port(); port != 0 {
		l := "name=tcp"
		for _, bind := range n.Config.Bind() {
			l += ",bind=" + bind
		}
		all = append(all, fmt.Sprintf("%s,port=%d", l, port))
	}
	if path := n.Config.UnixSocket(); path != "" {
		all = append(all, "name=unix,bind="+path)
	}
	return all
}

// buildRevision is the start of the commit that the program was built from.
func buildRevision() (revision string, dirty bool) {
	revision = "00000000"
	build, _ := debug.ReadBuildInfo()
	if build == nil {
		return revision, false
	}
	for _, s := range build.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 8:
			revision = s.Value[:8]
		case s.Key == "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	return revision, dirty
}

// operatingSystem is the kernel's name and release and the machine, as uname prints them.
func operatingSystem() string {
	kind, err1 := os.ReadFile("/proc/sys/kernel/ostype")
	release, err2 := os.ReadFile("/proc/sys/kernel/osrelease")
	machine := runtime.GOARCH
	switch machine {
	case "amd64":
		machine = "x86_64"
	case "arm64":
		machine = "aarch64"
	}
	if err1 != nil || err2 != nil {
		return runtime.GOOS + " " + machine
	}
	return strings.TrimSpace(string(kind)) + " " + strings.TrimSpace(string(release)) + " " + machine
}

func infoClients(n *Node, w *infoWriter) {
	u := n.clientUse()
	w.field("connected_clients", n.Clients.Len())
	w.zero("cluster_connections")
	w.field("maxclients", n.Config.MaxClients())
	w.field("client_recent_max_input_buffer", u.maxIn)
	w.field("client_recent_max_output_buffer", u.maxOut)
	w.field("blocked_clients", u.blocked)
	w.zero("tracking_clients", "clients_in_timeout_table")
	keys, onGone := n.Waiters.blockedKeys()
	w.field("total_blocking_keys", keys)
	w.field("total_blocking_keys_on_nokey", onGone)
}

func infoMemory(n *Node, w *infoWriter) {
	r := n.memoryReport(w.store)
	w.size("used_memory", r.used)
	w.size("used_memory_rss", r.rss)
	w.size("used_memory_peak", uint64(r.peak))
	w.percent("used_memory_peak_perc", r.peakPercent)
	w.field("used_memory_overhead", r.overhead)
	w.field("used_memory_startup", r.startup)
	w.field("used_memory_dataset", r.dataset)
	w.percent("used_memory_dataset_perc", r.datasetPercent)
	w.field("allocator_allocated", r.allocated)
	w.field("allocator_active", r.active)
	w.field("allocator_resident", r.resident)
	w.size("total_system_memory", totalMemory())
	w.zero("used_memory_lua", "used_memory_vm_eval")
	w.field("used_memory_lua_human", human(0))
	w.zero("used_memory_scripts_eval", "number_of_cached_scripts", "number_of_functions", "number_of_libraries", "used_memory_vm_functions")
	w.size("used_memory_vm_total", 0)
	w.zero("used_memory_functions")
	w.size("used_memory_scripts", 0)
	w.size("maxmemory", uint64(n.Config.MaxMemory()))
	w.field("maxmemory_policy", n.Config.MaxMemoryPolicy())
	w.ratio("allocator_frag_ratio", ratio(r.active, r.allocated))
	w.field("allocator_frag_bytes", int64(r.active)-int64(r.allocated))
	w.ratio("allocator_rss_ratio", ratio(r.resident, r.active))
	w.field("allocator_rss_bytes", int64(r.resident)-int64(r.active))
	w.ratio("rss_overhead_ratio", ratio(r.rss, r.resident))
	w.field("rss_overhead_bytes", int64(r.rss)-int64(r.resident))
	w.ratio("mem_fragmentation_ratio", ratio(r.rss, r.used))
	w.field("mem_fragmentation_bytes", int64(r.rss)-int64(r.used))
	w.zero("mem_not_counted_for_evict", "mem_replication_backlog", "mem_total_replication_buffers", "mem_clients_slaves")
	w.field("mem_clients_normal", r.clients)
	w.zero("mem_cluster_links")
	w.field("mem_aof_buffer", w.store.Log.Buffered)
	w.field("mem_allocator", runtime.Version())
	w.zero("active_defrag_running", "lazyfree_pending_objects", "lazyfreed_objects")
}

// running is how long a save has been under way, in seconds, -1 when none is.
func (k *saveState) running() int64 {
	started := k.started.Load()
	if started == 0 {
		return -1
	}
	return (time.Now().UnixMilli() - started) / 1000
}

func infoPersistence(n *Node, w *infoWriter) {
	save, rewrite := &n.Saves.save, &n.Saves.rewrite
	w.flag("loading", n.Loading())
	w.zero("async_loading", "current_cow_peak", "current_cow_size", "current_cow_size_age")
	w.ratio("current_fork_perc", 0)
	w.zero("current_save_keys_processed", "current_save_keys_total", "rdb_changes_since_last_save")
	w.flag("rdb_bgsave_in_progress", save.running() >= 0)
	w.field("rdb_last_save_time", save.last.Load())
	w.status("rdb_last_bgsave_status", save.failed.Load())
	w.field("rdb_last_bgsave_time_sec", save.lastTook.Load())
	w.field("rdb_current_bgsave_time_sec", save.running())
	w.field("rdb_saves", save.done.Load())
	w.zero("rdb_last_cow_size", "rdb_last_load_keys_expired", "rdb_last_load_keys_loaded")
	w.flag("aof_enabled", true) // the log
	w.flag("aof_rewrite_in_progress", rewrite.running() >= 0)
	w.zero("aof_rewrite_scheduled")
	w.field("aof_last_rewrite_time_sec", rewrite.lastTook.Load())
	w.field("aof_current_rewrite_time_sec", rewrite.running())
	w.status("aof_last_bgrewrite_status", rewrite.failed.Load())
	w.field("aof_rewrites", rewrite.done.Load())
	w.zero("aof_rewrites_consecutive_failures")
	w.status("aof_last_write_status", w.store.ReadOnlyReason != "")
	w.zero("aof_last_cow_size", "module_fork_in_progress", "module_fork_last_cow_size")
	infoLog(w)
}

func infoCPU(_ *Node, w *infoWriter) {
	user, system := cpuTime()
	w.seconds("used_cpu_sys", system)
	w.seconds("used_cpu_user", user)
	w.seconds("used_cpu_sys_children", 0)
	w.seconds("used_cpu_user_children", 0)
	w.seconds("used_cpu_sys_main_thread", 0)
	w.seconds("used_cpu_user_main_thread", 0)
}
