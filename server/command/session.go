package command

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/server/resp"
)

// DefaultUser is the user of a connection that has not named another.
const DefaultUser = "default"

// Session is a client connection's state, without its socket. Only the goroutine that runs the
// connection's commands touches it, except where a field says otherwise.
type Session struct {
	ID                                 uint64
	Out                                resp.Writer
	DB                                 int
	User                               string
	Authed                             bool
	Asking, ReadOnlyMode               bool // ASKING, READONLY
	ReplyOff, ReplySkip, ReplySkipNext bool
	InMulti, MultiFailed               bool
	Queue                              []Queued
	NoEvict, NoTouch                   bool
	CloseAfterReply                    bool
	// Takeover is set by a command that takes over the connection, once all replies are sent.
	Takeover Takeover

	Addr, LAddr string // never change
	FD          int    // the socket's descriptor, -1 when there is none to show; never changes
	Unix        bool   // on a Unix socket; never changes
	Created     time.Time

	// Blocked: a command of the connection waits, for a key, for replicas, or for the end of CLIENT PAUSE. Set by server.
	Blocked atomic.Bool
	// Replica: the connection has been taken over by a replica.
	Replica atomic.Bool
	// Dirty: a watched key changed, so EXEC must fail. Set from any goroutine.
	Dirty atomic.Bool
	// LastActive is in unix milliseconds. It and LastCmd are read by other clients' CLIENT LIST.
	LastActive atomic.Int64
	LastCmd    atomic.Pointer[Command]
	// QueryBuf and OutBuf are the bytes held in the request and reply buffers; QueryFree the
	// unused rest of the request buffer. Kept by server, for CLIENT LIST and INFO.
	QueryBuf, QueryFree, OutBuf atomic.Int64

	// Kill closes the connection from any goroutine, Conn has it go on after a wait; set by server.
	Kill func()
	Conn Waker

	Mu                    sync.Mutex // guards the fields below, which other clients read (CLIENT LIST)
	Name, LibName, LibVer string
	shown                 sessionState

	errand  *errand
	waiter  *Waiter // of its owner, see Waiters
	found   Found   // by the command that was just run
	unblock atomic.Pointer[func(text string) bool]

	watched    map[watchKey]*watch
	queueBytes int // memory behind Queue
	watchBytes int // memory behind watched
}

// sessionState is the copy of a session's private fields that CLIENT LIST shows.
type sessionState struct {
	db, multi, multiBytes, watched int
	proto3                         bool
	readOnly, noEvict, noTouch     bool
	closing                        bool
	user                           string
}

// publish makes the session's private fields visible to other clients' CLIENT LIST. It is called
// by the commands that change one of them, so that all others pay nothing.
func (s *Session) publish() {
	st := sessionState{
		db: s.DB, multi: -1, multiBytes: s.queueBytes + s.watchBytes, watched: len(s.watched),
		proto3: s.Out.Proto3, readOnly: s.ReadOnlyMode, noEvict: s.NoEvict, noTouch: s.NoTouch,
		closing: s.CloseAfterReply, user: s.User,
	}
	if s.InMulti {
		st.multi = len(s.Queue)
	}
	s.Mu.Lock()
	s.shown = st
	s.Mu.Unlock()
}

// setName sets the connection's name, as CLIENT SETNAME, HELLO SETNAME and RESET do.
func (s *Session) setName(name string) {
	s.Mu.Lock()
	s.Name = name
	s.Mu.Unlock()
}

// name returns the connection's name.
func (s *Session) name() string {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.Name
}

// reset brings the session back to where a new connection starts, but for its protocol limits (RESET).
func (s *Session) reset(n *Node) {
	s.discard(n)
	s.DB = 0
	s.Asking, s.ReadOnlyMode = false, false
	s.ReplyOff, s.ReplySkip, s.ReplySkipNext = false, false, false
	s.NoEvict, s.NoTouch = false, false
	s.Out.Proto3 = false
	s.User = DefaultUser
	s.Authed = n.Config.RequirePass() == ""
	s.setName("")
	s.publish()
}

// Queued is a command inside MULTI; its arguments are copies.
type Queued struct {
	Cmd  *Command
	Args [][]byte
}

// close ends the connection when the replies are sent.
func (s *Session) close() {
	s.CloseAfterReply = true
	s.publish()
}
