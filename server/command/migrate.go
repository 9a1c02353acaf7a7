package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/engine/rdb"
)

// A batch of keys is read, sent in one pipeline, and deleted as a whole: this bounds what a MIGRATE of many keys holds in
// memory, and for how long a key is claimed. A single value may be larger.
const (
	batchKeys  = 1024
	batchBytes = 8 << 20
)

// defaultMigrateTimeout stands for a timeout that is not positive.
const defaultMigrateTimeout = time.Second

// Migrations is what MIGRATE commands share.
type Migrations struct {
	Claims Claims
	drains Drains

	max     int
	targets targets
	ctx     context.Context
	cancel  context.CancelFunc

	mu      sync.Mutex
	running int
	left    chan struct{} // closed when one ends; nil when nobody waits
}

// newMigrations lets half the workers run MIGRATE at once, so that a target that hangs does not keep all of them.
func newMigrations(workers int) *Migrations {
	m := &Migrations{max: max(1, workers/2)}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Enter is asked before a MIGRATE runs: when too many do, it returns what is closed as one of them ends.
func (m *Migrations) Enter() (wait <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running < m.max {
		m.running++
		return nil
	}
	if m.left == nil {
		m.left = make(chan struct{})
	}
	return m.left
}

// Leave undoes Enter.
func (m *Migrations) Leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running--
	if m.left != nil {
		close(m.left)
		m.left = nil
	}
}

// close ends the MIGRATE commands that wait for a target, and the connections.
func (m *Migrations) close() {
	m.cancel()
	m.targets.closeAll()
}

// migration is a MIGRATE request.
type migration struct {
	addr          string
	db            int64 // on the target
	timeout       time.Duration
	copy, replace bool
	auth          [][]byte // the arguments of AUTH, none if there is no password
	names         [][]byte
}

// migrateKeys finds the keys of a MIGRATE (Redis: migrateGetKeys).
func migrateKeys(args [][]byte) ([]int, error) {
	for i := 6; i < len(args); i++ {
		switch {
		case equalFold(args[i], "auth"):
			i++
		case equalFold(args[i], "auth2"):
			i += 2
		case equalFold(args[i], "keys"):
			if len(args[3]) > 0 {
				return nil, nil // the handler says what is wrong
			}
			idx := make([]int, 0, len(args)-i-1)
			for k := i + 1; k < len(args); k++ {
				idx = append(idx, k)
			}
			return idx, nil
		}
	}
	return []int{3}, nil
}

// migration parses the request, or answers the error.
func (c *Ctx) migration() (m migration, ok bool) {
	m.names = c.Args[3:4]
	for i := 6; i < len(c.Args); i++ {
		more := len(c.Args) - 1 - i
		switch {
		case c.is(i, "copy"):
			m.copy = true
		case c.is(i, "replace"):
			m.replace = true
		case c.is(i, "auth") && more >= 1:
			m.auth = c.Args[i+1 : i+2]
			i++
		case c.is(i, "auth2") && more >= 2:
			m.auth = c.Args[i+1 : i+3]
			i += 2
		case c.is(i, "keys"):
			if len(c.Args[3]) != 0 {
				c.Out.Error("ERR When using MIGRATE KEYS option, the key argument must be set to the empty string")
				return m, false
			}
			m.names = c.Args[i+1:]
			i = len(c.Args)
		default:
			c.syntaxError()
			return m, false
		}
	}
	timeout, ok := c.int(5)
	if !ok {
		return m, false
	}
	if m.db, ok = c.int(4); !ok {
		return m, false
	}
	m.timeout = defaultMigrateTimeout
	if timeout > 0 {
		m.timeout = time.Duration(min(timeout, int64(24*time.Hour/time.Millisecond))) * time.Millisecond
	}
	m.addr = net.JoinHostPort(string(c.Args[1]), string(c.Args[2]))
	return m, true
}

// runMigrate sends keys to another node and deletes here those that it has acknowledged. It runs on a worker and takes its
// locks itself: see Claims for how it holds none while it waits for the target. As in Redis a key may be on both nodes after
// an error, when the target got it and the acknowledgement was lost; then the one here counts, and REPLACE overwrites the other.
func runMigrate(c *Ctx) {
	m, ok := c.migration()
	if !ok {
		return
	}
	s := &sending{migration: m, c: c, shared: c.Node.Migrations, reign: c.Node.Replication.Reign()}
	err := s.run()
	link := (*linkError)(nil)
	switch {
	case s.refusal != "":
		c.Out.Error("ERR Target instance replied with error: " + s.refusal)
	case errors.As(err, &link):
		c.Out.Error(link.Error())
	case err != nil:
		c.Fail(err)
	case !s.found:
		c.Out.Simple("NOKEY")
	default:
		c.Out.OK()
	}
}

// sending is a MIGRATE under way.
type sending struct {
	migration
	c      *Ctx
	shared *Migrations
	reign  context.Context // ends with this node's time as a primary
	to     *target         // nil until there is something to send

	found   bool   // one of the keys exists
	retried bool   // a broken connection has been replaced
	refusal string // the first error that the target answered
}

// batch is what is sent at once.
type batch struct {
	claim *claim
	keys  []sendingKey
	bytes int
}

type sendingKey struct {
	engine.Key
	ttl     int64 // ms, 0 for none
	payload []byte
	acked   bool
}

// linkError says what the connection failed at.
type linkError struct {
	doing string
	err   error
}

func (e *linkError) Error() string { return "IOERR error or timeout " + e.doing }
func (e *linkError) Unwrap() error { return e.err }

// errRefused: the target takes nothing; sending.refusal says why.
var errRefused = errors.New("refused by the target")

func (s *sending) run() error {
	defer s.release()
	for rest := s.names; len(rest) > 0; {
		b, taken, wait, err := s.pack(rest)
		if err != nil {
			return err
		}
		if wait != nil { // another MIGRATE has the next key
			if err := s.outside(func() error { return s.await(wait) }); err != nil {
				return err
			}
			continue
		}
		rest = rest[taken:]
		if err := s.move(b); err != nil {
			return err
		}
	}
	return nil
}

// errDeposed: nothing is deleted here after that, also when this node is a primary again: what it has may have come from another one since, and then it
// is not what was sent.
var errDeposed = errors.New("this node has not stayed a primary: keys that were on their way have not been deleted here, and may be on the target, too")

// outside waits for others, and holds nothing up here meanwhile.
func (s *sending) outside(wait func() error) (err error) {
	if !s.c.Node.Outside(func() { err = wait() }) || s.reign.Err() != nil {
		return errDeposed
	}
	return err
}

// release gives the connection back.
func (s *sending) release() {
	if s.to != nil {
		s.shared.targets.keep(s.to)
	}
}

func (s *sending) await(wait <-chan struct{}) error {
	select {
	case <-wait:
		return nil
	case <-s.shared.ctx.Done():
		return s.shared.ctx.Err()
	}
}

// pack reads and claims the first keys of names. taken is how many it has dealt with; if that is none,
// wait is closed when the first is free.
func (s *sending) pack(names [][]byte) (b *batch, taken int, wait <-chan struct{}, err error) {
	names = names[:min(len(names), batchKeys)]
	slots := make([]uint16, len(names))
	for i, name := range names {
		slots[i] = keys.Slot(name)
	}
	b = &batch{claim: newClaim()}
	txn := s.c.Txn
	txn.Lock(slots, false)
	defer txn.Discard() // and what its reads hold in memory
	for taken < len(names) && b.bytes < batchBytes {
		k := s.c.key(names[taken])
		if wait, err = s.add(b, k); err != nil {
			s.shared.Claims.end(b.claim)
			return nil, 0, nil, err
		}
		if wait != nil {
			break
		}
		taken++
	}
	if taken > 0 {
		wait = nil
	}
	return b, taken, wait, nil
}

// add puts a key into the batch, if it exists.
func (s *sending) add(b *batch, k engine.Key) (wait <-chan struct{}, err error) {
	txn := s.c.Txn
	rec, found, err := txn.Get(k)
	if err != nil || !found {
		return nil, err
	}
	if !s.copy {
		if wait = s.shared.Claims.add(b.claim, k.Name); wait != nil {
			return wait, nil
		}
	}
	payload, err := rdb.Dump(nil, txn, k, rec, s.c.Node.Config.ProtoMaxBulkLen())
	if err != nil {
		return nil, err
	}
	ttl := int64(0)
	if rec.ExpireAt != 0 {
		ttl = max(1, rec.ExpireAt-txn.Now())
	}
	b.keys = append(b.keys, sendingKey{Key: k, ttl: ttl, payload: payload})
	b.bytes += len(payload) + len(k.Name)
	s.found = true
	return nil, nil
}

// move sends a batch and deletes what the target has acknowledged.
func (s *sending) move(b *batch) error {
	defer s.shared.Claims.end(b.claim)
	if len(b.keys) == 0 {
		return nil
	}
	sent := s.outside(func() error { return s.deliver(b) })
	if s.copy || sent == errDeposed {
		return sent
	}
	switch err := s.remove(b); {
	case errors.Is(err, engine.ErrReplica):
		return errDeposed
	case err != nil:
		return err
	}
	return sent
}

// remove deletes the keys of a batch that are on the target now. They are as they were sent, unless a flush has
// taken them, and with them their database.
func (s *sending) remove(b *batch) error {
	var slots []uint16
	for i := range b.keys {
		if b.keys[i].acked {
			slots = append(slots, b.keys[i].Slot)
		}
	}
	if len(slots) == 0 {
		return nil
	}
	if err := s.c.Node.Store.AdmitWrite(s.shared.ctx); err != nil {
		return err
	}
	txn := s.c.Txn
	txn.Lock(slots, true)
	if s.reign.Err() != nil { // asked under the locks, without which nothing comes from another node
		txn.Discard()
		return errDeposed
	}
	db := s.c.Node.Store.DB(s.c.DB)
	for i := range b.keys {
		if k := &b.keys[i]; k.acked && k.DB == db {
			if _, err := txn.Delete(k.Key); err != nil {
				txn.Discard()
				return err
			}
		}
	}
	return txn.Commit()
}

// deliver sends a batch. A connection that breaks before anything was acknowledged is replaced once: often it was an
// idle one that the target has closed.
func (s *sending) deliver(b *batch) error {
	for {
		err := s.exchange(b)
		if err == nil || err == errRefused {
			return err
		}
		if s.to != nil {
			s.to.close()
			s.shared.targets.forget(s.addr)
			s.to = nil
		}
		if s.retried || timedOut(err) || s.shared.ctx.Err() != nil || s.reign.Err() != nil || b.anyAcked() || s.refusal != "" {
			return err
		}
		s.retried = true
	}
}

func (b *batch) anyAcked() bool {
	for i := range b.keys {
		if b.keys[i].acked {
			return true
		}
	}
	return false
}

func (s *sending) exchange(b *batch) error {
	if s.to == nil {
		if err := s.connect(); err != nil {
			return &linkError{"connecting to the client", err}
		}
	}
	defer context.AfterFunc(s.shared.ctx, s.to.close)()
	defer context.AfterFunc(s.reign, s.to.close)()
	if err := s.introduce(); err != nil {
		return err
	}
	if err := s.write(b); err != nil {
		return &linkError{"writing to target instance", err}
	}
	for i := range b.keys {
		refusal, err := s.to.receive()
		if err != nil {
			return &linkError{"reading to target instance", err}
		}
		if refusal == "" {
			b.keys[i].acked = true
		} else {
			s.refuse(refusal)
		}
	}
	return nil
}

func (s *sending) connect() (err error) {
	if s.to = s.shared.targets.take(s.addr); s.to == nil {
		s.to, err = dialTarget(s.shared.ctx, s.addr, s.timeout)
	} else {
		s.to.timeout = s.timeout
	}
	return err
}

// refuse keeps the first error that the target answers. Which database is selected there is not certain any more.
func (s *sending) refuse(text string) {
	if s.refusal == "" {
		s.refusal = text
	}
	s.to.db = -1
}

// introduce authenticates and selects the database, where the connection has not done so before. To a target that refuses
// nothing is sent.
func (s *sending) introduce() error {
	credentials := fmt.Sprintf("%q", s.auth)
	if len(s.auth) > 0 && s.to.auth != credentials {
		if err := s.say(append([][]byte{[]byte("AUTH")}, s.auth...)...); err != nil {
			return err
		}
		s.to.auth = credentials
	}
	if s.to.db != s.db {
		if err := s.say([]byte("SELECT"), strconv.AppendInt(nil, s.db, 10)); err != nil {
			return err
		}
		s.to.db = s.db
	}
	return nil
}

// say sends a command and waits for its +OK.
func (s *sending) say(args ...[]byte) error {
	err := s.to.send(args...)
	if err == nil {
		err = s.to.w.Flush()
	}
	if err != nil {
		return &linkError{"writing to target instance", err}
	}
	refusal, err := s.to.receive()
	switch {
	case err != nil:
		return &linkError{"reading to target instance", err}
	case refusal != "":
		s.refuse(refusal)
		return errRefused
	}
	return nil
}

func (s *sending) write(b *batch) error {
	restore := []byte("RESTORE")
	if s.c.Node.Cluster != nil {
		restore = []byte("RESTORE-ASKING")
	}
	for i := range b.keys {
		k := &b.keys[i]
		args := [][]byte{restore, k.Name, strconv.AppendInt(nil, k.ttl, 10), k.payload}
		if s.replace {
			args = append(args, []byte("REPLACE"))
		}
		if err := s.to.send(args...); err != nil {
			return err
		}
	}
	return s.to.w.Flush()
}
