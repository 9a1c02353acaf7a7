package gossip

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// maxSealed is the most plaintext in one sealed frame.
const maxSealed = 16 << 10

var errSealed = errors.New("cluster bus: a sealed frame is damaged")

// sealedConn encrypts and authenticates a connection:
//
//	length(2, big endian, of the ciphertext) ciphertext(AES-256-GCM)
//
// Nonces count the frames of a direction, and every connection has its own
// keys, so a frame that is changed, repeated, dropped or reordered ends the connection.
type sealedConn struct {
	net.Conn

	readMu  sync.Mutex
	opener  half
	frame   []byte // ciphertext, then plaintext in place
	pending []byte // plaintext not yet read

	writeMu sync.Mutex
	sealer  half
	out     []byte
}

// half is one direction.
type half struct {
	aead  cipher.AEAD
	count uint64
}

func newHalf(key []byte) (half, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return half{}, err
	}
	aead, err := cipher.NewGCM(block)
	return half{aead: aead}, err
}

func (h *half) nonce() []byte {
	n := make([]byte, h.aead.NonceSize())
	binary.BigEndian.PutUint64(n[len(n)-8:], h.count)
	h.count++
	return n
}

func seal(conn net.Conn, s *session, client bool) (net.Conn, error) {
	send, receive := "to server", "to client"
	if !client {
		send, receive = receive, send
	}
	sealer, err := newHalf(s.mac(send))
	if err != nil {
		return nil, err
	}
	opener, err := newHalf(s.mac(receive))
	if err != nil {
		return nil, err
	}
	return &sealedConn{Conn: conn, sealer: sealer, opener: opener}, nil
}

func (c *sealedConn) Read(p []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	for len(c.pending) == 0 {
		if err := c.readFrame(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

func (c *sealedConn) readFrame() error {
	var head [2]byte
	if _, err := io.ReadFull(c.Conn, head[:]); err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint16(head[:]))
	if size > maxSealed+c.opener.aead.Overhead() {
		return errSealed
	}
	if cap(c.frame) < size {
		c.frame = make([]byte, size)
	}
	c.frame = c.frame[:size]
	if _, err := io.ReadFull(c.Conn, c.frame); err != nil {
		return err
	}
	plain, err := c.opener.aead.Open(c.frame[:0], c.opener.nonce(), c.frame, nil)
	if err != nil {
		return errSealed
	}
	c.pending = plain
	return nil
}

func (c *sealedConn) Write(p []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	written := 0
	for len(p) > 0 {
		n := min(len(p), maxSealed)
		c.out = binary.BigEndian.AppendUint16(c.out[:0], uint16(n+c.sealer.aead.Overhead()))
		c.out = c.sealer.aead.Seal(c.out, c.sealer.nonce(), p[:n], nil)
		if _, err := c.Conn.Write(c.out); err != nil {
			return written, err
		}
		written += n
		p = p[n:]
	}
	return written, nil
}
