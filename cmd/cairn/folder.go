package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cairndb/cairn/server/config"
)

// ownNames are what the store makes in its folder; it says itself what is wrong with them.
var ownNames = []string{"CAIRN*", "LOCK", "ballast", "epochs", "log", "store"}

// harmless are files that operators and systems keep beside a node's data, also before its first start.
var harmless = []string{".*", "lost+found", "*.conf", "*.conf.*", "*.log*", "*.pid", "*.sock", "*.acl", "*.pem", "*.crt", "*.key", "core", "core.*"}

// redisData are Redis's dumps and append-only files.
var redisData = []string{"*.rdb", "*.aof", "appendonlydir"}

// inspectDir refuses a data folder that holds other things, and returns what of Redis's data lies in it.
func inspectDir(conf *config.Config) (unread []string, err error) {
	dir := conf.Dir()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	var strange []string
	known := false
	for _, e := range entries {
		name := e.Name()
		known = known || name == "CAIRN"
		switch {
		case matches(redisData, name):
			unread = append(unread, name)
		case !matches(ownNames, name) && !matches(harmless, name) && !configured(conf, filepath.Join(dir, name)):
			strange = append(strange, name)
		}
	}
	if !known && len(strange) > 0 {
		return nil, fmt.Errorf("data folder %s holds other things than a node's data (%s): give an empty or a new folder with --dir", dir, some(strange))
	}
	return unread, nil
}

// isFresh says whether a folder holds no store yet.
func isFresh(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "CAIRN"))
	return errors.Is(err, fs.ErrNotExist)
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := filepath.Match(p, name) // the patterns are well-formed
		return ok
	})
}

// configured says whether the configuration names this file.
func configured(conf *config.Config, path string) bool {
	return slices.ContainsFunc([]string{conf.File(), conf.LogFile(), conf.PidFile(), conf.UnixSocket()}, func(named string) bool {
		abs, err := filepath.Abs(named)
		return named != "" && err == nil && abs == path
	})
}

// some lists the first few names.
func some(names []string) string {
	const few = 3
	if len(names) > few {
		names = append(slices.Clone(names[:few]), "…")
	}
	return strings.Join(names, ", ")
}
