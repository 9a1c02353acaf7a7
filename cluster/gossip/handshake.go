package gossip

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"slices"
)

// Every bus connection begins, after the TLS handshake if there is one, with a handshake
// in which both sides prove that they know the shared secret, without showing it:
//
//	client → server: magic(8) version(1) kind(1) nonce(32)
//	server → client: nonce(32) HMAC-SHA256(secret, "server" hello nonce binding)
//	client → server:           HMAC-SHA256(secret, "client" hello nonce binding)
//
// The binding is the TLS connection's (tls.go), else empty. After the handshake each direction is
// sealed with a key of its own (seal.go), unless TLS does that, or there is no
// secret. The first ten bytes never change their place.
const (
	magic         = "CAIRNBUS"
	busVersion    = 1
	nonceSize     = 32
	helloSize     = len(magic) + 2 + nonceSize
	kindAt        = len(magic) + 1
	challengeSize = nonceSize + sha256.Size
)

// ErrHandshake: the peer is no member of this cluster's bus, or does not know its secret.
var ErrHandshake = errors.New("cluster bus: handshake failed (have both nodes the same cluster-bus-secret, and tls-cluster with certificates that the other accepts?)")

// session is what both sides know after a handshake.
type session struct {
	secret     []byte
	transcript []byte
}

func newSession(secret, hello, nonce, binding []byte) *session {
	return &session{secret, slices.Concat(hello, nonce, binding)}
}

func (s *session) mac(label string) []byte {
	h := hmac.New(sha256.New, s.secret)
	h.Write([]byte(label))
	h.Write(s.transcript)
	return h.Sum(nil)
}

// greet is the client's side.
func greet(conn net.Conn, secret, binding []byte, kind Kind) (*session, error) {
	hello := make([]byte, 0, helloSize)
	hello = append(hello, magic...)
	hello = append(hello, busVersion, byte(kind))
	hello = append(hello, nonce()...)
	if _, err := conn.Write(hello); err != nil {
		return nil, err
	}
	challenge := make([]byte, challengeSize)
	if _, err := io.ReadFull(conn, challenge); err != nil {
		return nil, errors.Join(ErrHandshake, err)
	}
	s := newSession(secret, hello, challenge[:nonceSize], binding)
	if !hmac.Equal(challenge[nonceSize:], s.mac("server")) {
		return nil, ErrHandshake
	}
	_, err := conn.Write(s.mac("client"))
	return s, err
}

// welcome is the server's side; it answers only kinds that are served.
func welcome(conn net.Conn, secret, binding []byte, served func(Kind) bool) (Kind, *session, error) {
	hello := make([]byte, helloSize)
	if _, err := io.ReadFull(conn, hello); err != nil {
		return 0, nil, err
	}
	kind := Kind(hello[kindAt])
	if !bytes.HasPrefix(hello, []byte(magic)) || hello[len(magic)] != busVersion || !served(kind) {
		return 0, nil, ErrHandshake
	}
	n := nonce()
	s := newSession(secret, hello, n, binding)
	if _, err := conn.Write(append(n, s.mac("server")...)); err != nil {
		return 0, nil, err
	}
	proof := make([]byte, sha256.Size)
	if _, err := io.ReadFull(conn, proof); err != nil {
		return 0, nil, err
	}
	if !hmac.Equal(proof, s.mac("client")) {
		return 0, nil, ErrHandshake
	}
	return kind, s, nil
}

func nonce() []byte {
	n := make([]byte, nonceSize)
	_, _ = rand.Read(n) // never fails (crypto/rand)
	return n
}
