package command

func infoEngine(n *Node, w *infoWriter) {
	s := n.Store.Stats()
	w.field("engine_expired_keys", s.ExpiredKeys)
}

// offHeap is the memory that the store holds outside the Go heap.
func (n *Node) offHeap() uint64 { return 0 }

// logBuffered is what the log has not handed to the operating system yet, in bytes.
func (n *Node) logBuffered() int64 { return 0 }

func (n *Node) infoLog(w *infoWriter) {}

// replicationID names the history of the store.
func (n *Node) replicationID() string { return n.RunID }
