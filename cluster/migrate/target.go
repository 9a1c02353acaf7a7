package migrate

// The target's side of one group of slots, as a pure state machine. Frames and the end of the link are its events; each
// may come at any time.
//
//	begin ─▶ batches ─▶ mark … mark, final ─▶ granted ─▶ end
//	  │         │                     │
//	  └─────────┴──── drop ◀── lost   └──── lost ─▶ settle ─▶ end or drop
//
// What it keeps: once it has said that it holds everything (the answer to the final mark), the source may have asked the group for
// the grant. So it drops nothing before it has either the source's word that there is no such grant, or has had the group decide again, which makes
// void what the source may have asked for (Settle).

// heard is what an import hears.
type heard uint8

const (
	hearBegin heard = iota
	hearBatch
	hearMark
	hearFinal   // the last mark: nothing is written at the source any more
	hearGranted // the group has granted the slots to this node
	hearAbort   // the source gives up, and has asked for no grant that could come yet
	hearLost    // the link has ended, or what it brought makes no sense
	hearMine    // the group has decided again: the slots are this node's
	hearOthers  // they are not
)

var heardNames = [...]string{"begin", "batch", "mark", "final", "granted", "abort", "lost", "mine", "others"}

func (h heard) String() string { return heardNames[h] }

// task is what an import has to do.
type task uint8

const (
	taskNone   task = iota
	taskBegin       // empty the slots and accept
	taskImport      // import the batch
	taskAnswer      // answer the mark when this node and its replicas have all
	taskReady       // hold the commands for the slots, then answer as above
	taskEnd         // make the slots visible, let the commands go, answer
	taskDrop        // drop what has come
	taskSettle      // have the group decide again
	taskRefuse      // end the link: this should not have come
)

var taskNames = [...]string{"none", "begin", "import", "answer", "ready", "end", "drop", "settle", "refuse"}

func (t task) String() string { return taskNames[t] }

// intake is the state of one group of slots at its target.
type intake struct {
	state State
	begun bool
	ready bool // the final mark was answered, or is about to be
}

// next takes in what was heard and returns what is to be done.
func (x *intake) next(h heard) task {
	switch {
	case x.state.Ended():
		return taskNone
	case h == hearMine || h == hearOthers:
		return x.settled(h)
	case h == hearLost || h == hearAbort:
		return x.over(h)
	case h == hearBegin && !x.begun:
		x.begun, x.state = true, Receiving
		return taskBegin
	case h == hearBegin || !x.begun:
		return taskRefuse
	case h == hearGranted:
		if !x.ready {
			return taskRefuse // of whatever grant the source speaks, there is more to come
		}
		x.state = Granted
		return taskEnd
	}
	return x.data(h)
}

func (x *intake) data(h heard) task {
	switch h {
	case hearBatch:
		// After a final mark the source may have let its commands go again, for it took too long.
		if x.ready {
			x.state = WaitingForPaused
		}
		return taskImport
	case hearMark:
		x.state = WaitingForPaused
		return taskAnswer
	case hearFinal:
		x.state, x.ready = Requested, true
		return taskReady
	}
	return taskRefuse
}

// over is the end of the link, or of the source's effort.
func (x *intake) over(h heard) task {
	switch {
	case !x.begun:
		x.state = Failed
		return taskNone
	case x.state == Granted:
		return taskNone // it ends by itself
	case x.ready && h == hearLost:
		return taskSettle
	}
	x.state = Failed
	return taskDrop
}

func (x *intake) settled(h heard) task {
	switch {
	case !x.ready:
		return taskNone
	case h == hearMine:
		x.state = Granted
		return taskEnd
	}
	x.state = Failed
	return taskDrop
}

// ended notes that the slots are served here.
func (x *intake) ended() { x.state = Success }
