package migrate

// The source's side of moving one group of slots, as a pure state machine: an event comes, the state changes, and
// one action is to be done, which ends with the next event.
//
//	connect ─▶ establish ─▶ copy ─▶ follow ─▶ note ─▶ hold ─▶ drain ─▶ propose ─▶ conclude ─▶ drop
//	   ▲                              ▲                         │         │ ▲
//	   │                              └──── let go ◀── too slow ┘         └─┘ nobody knows
//	   └── wait ◀── undo ◀── whatever fails, or is refused by the group
//
// What it keeps:
//
//   - The slots are held from before the end of the drain until the outcome of the proposal is known. So nothing is written that the
//     target does not get, and nobody is told what has become untrue.
//   - From the first proposal on, only the group's answer leads on: neither a cancellation nor a lost link does.
//   - Before the first proposal there is a note on disk. A source that starts and finds one has the group decide again (Settle), which
//     makes void whatever it had asked for before, and serves the slots when it knows whose they are.

// event is what has happened to an export.
type event uint8

const (
	evStart   event = iota
	evDone          // the action has been done
	evSlow          // hold or drain: it took longer than clients should wait
	evLost          // the link is lost, or the target refuses this try
	evFatal         // it can't be done
	evCancel        // the operator has cancelled it
	evGranted       // the group's answers
	evDenied
	evUnknown
)

var eventNames = [...]string{"start", "done", "slow", "lost", "fatal", "cancel", "granted", "denied", "unknown"}

func (e event) String() string { return eventNames[e] }

// action is what is to be done next.
type action uint8

const (
	actNone      action = iota
	actConnect          // open a link to the target
	actEstablish        // have the target begin an import
	actCopy             // send the slots as they are
	actFollow           // send what was written since, until little is left
	actNote             // note on disk that the slots may go
	actHold             // have commands for the slots wait, until none is under way
	actDrain            // send the last records, and wait until the target has all
	actPropose          // have the group grant the slots to the target
	actConclude         // let the commands go, tell the target, wait until it serves
	actDrop             // drop the slots' data and the note
	actLetGo            // let the commands go, to hold them again later
	actUndo             // let the commands go, drop note and link
	actWait             // before the next try
)

var actionNames = [...]string{
	"none", "connect", "establish", "copy", "follow", "note", "hold", "drain", "propose", "conclude", "drop", "let go", "undo", "wait",
}

func (a action) String() string { return actionNames[a] }

// export is the state of one group of slots at its source.
type export struct {
	state State
	doing action
	// tries counts those that failed. end is the state in which an undo ends, Connecting for another try.
	tries int
	end   State
}

// maxTries bounds the tries of a group, one after the other.
const maxTries = 10

// next takes an event in and returns what is to be done. An event that means nothing now changes nothing: actNone.
func (x *export) next(e event) action {
	was := x.doing
	x.doing = x.decide(e)
	if x.doing == actNone && !x.state.Ended() {
		x.doing = was
		return actNone
	}
	return x.doing
}

func (x *export) decide(e event) action {
	switch {
	case x.state.Ended():
		return actNone
	case x.doing == actPropose:
		return x.answered(e)
	case x.doing == actConclude || x.doing == actDrop:
		return x.finish(e)
	case x.doing == actUndo:
		return x.undone(e)
	}
	switch e {
	case evStart, evDone:
		return x.forward(e)
	case evSlow:
		if x.doing == actHold || x.doing == actDrain {
			x.state = WaitingToPause
			return actLetGo
		}
	case evLost:
		return x.undo(Connecting)
	case evFatal:
		return x.undo(Failed)
	case evCancel:
		return x.undo(Cancelled)
	}
	return actNone
}

// forward is the way that it goes when nothing goes wrong.
func (x *export) forward(e event) action {
	if e == evStart && x.doing != actNone {
		return actNone
	}
	switch x.doing {
	case actNone, actWait:
		x.state = Connecting
		return actConnect
	case actConnect:
		x.state = Establishing
		return actEstablish
	case actEstablish:
		x.state = Snapshotting
		return actCopy
	case actCopy, actLetGo:
		x.state = Replicating
		return actFollow
	case actFollow:
		x.state = WaitingToPause
		return actNote
	case actNote:
		x.state = Paused
		return actHold
	case actHold:
		return actDrain
	case actDrain:
		x.state = Granting
		return actPropose
	}
	return actNone
}

// answered goes by the group's answer alone.
func (x *export) answered(e event) action {
	switch e {
	case evGranted:
		x.state = Cleaning
		return actConclude
	case evDenied:
		return x.undo(Connecting)
	case evUnknown:
		return actPropose
	}
	return actNone
}

// finish is what comes after the grant: nothing takes it back. A target that isn't reached hears of the grant from the group.
func (x *export) finish(e event) action {
	switch {
	case e != evDone && e != evLost && e != evSlow:
	case x.doing == actConclude:
		return actDrop
	case e == evDone:
		x.state = Success
	}
	return actNone
}

func (x *export) undo(end State) action {
	x.end = end
	return actUndo
}

func (x *export) undone(e event) action {
	switch {
	case x.end == Connecting && e == evCancel:
		x.end = Cancelled
	case x.end == Connecting && e == evFatal:
		x.end = Failed
	case x.end == Connecting:
		if x.tries++; x.tries < maxTries {
			x.state = Connecting
			return actWait
		}
		x.end = Failed
	}
	x.state = x.end
	return actNone
}
