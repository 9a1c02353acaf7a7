package gossip

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
)

// TLSFiles name the PEM files that protect a bus; the fields are Redis's tls-* directives.
type TLSFiles struct {
	Cert, Key string
	// ClientCert and ClientKey are shown to the nodes that this one connects to; empty for Cert and Key.
	ClientCert, ClientKey string
	// CACert and CADir hold the authorities that the peers' certificates must come from; at least one is needed.
	CACert, CADir string
}

// TLS protects a bus: both ends of every connection show a certificate of an authority that the other
// trusts, as on Redis's cluster bus. Names in it are not compared with addresses, which may change.
type TLS struct{ now atomic.Pointer[tlsConfigs] }

type tlsConfigs struct{ server, client *tls.Config }

// LoadTLS reads the files.
func LoadTLS(f TLSFiles) (*TLS, error) {
	t := new(TLS)
	return t, t.Reload(f)
}

// Reload reads the files again, or others; after an error what was loaded before stays. Connections that are open go on.
func (t *TLS) Reload(f TLSFiles) error {
	if f.Cert == "" || f.Key == "" {
		return errors.New("tls-cert-file and tls-key-file must be set")
	}
	if f.CACert == "" && f.CADir == "" {
		return errors.New("tls-ca-cert-file or tls-ca-cert-dir must be set")
	}
	own, err := loadPair(f.Cert, f.Key)
	if err != nil {
		return err
	}
	shown := own
	if f.ClientCert != "" || f.ClientKey != "" {
		if shown, err = loadPair(f.ClientCert, f.ClientKey); err != nil {
			return err
		}
	}
	authorities, err := loadAuthorities(f.CACert, f.CADir)
	if err != nil {
		return err
	}
	t.now.Store(&tlsConfigs{
		server: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authorities,
		},
		client: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{shown},
			// The chain is verified below; only the host name, which the standard verification wants, is not.
			InsecureSkipVerify: true,
			VerifyConnection:   verifyServer(authorities),
		},
	})
	return nil
}

func verifyServer(authorities *x509.CertPool) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		o := x509.VerifyOptions{Roots: authorities, Intermediates: x509.NewCertPool()}
		for _, c := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(c)
		}
		_, err := s.PeerCertificates[0].Verify(o)
		return err
	}
}

// maxPEM bounds a file that is read, in bytes.
const maxPEM = 4 << 20

func readPEM(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(b) > maxPEM {
		err = fmt.Errorf("%s is too large for a PEM file", path)
	}
	return b, err
}

func loadPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := readPEM(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readPEM(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		err = fmt.Errorf("%s, %s: %w", certFile, keyFile, err)
	}
	return pair, err
}

// loadAuthorities takes every certificate of the file, and of all files in the folder.
func loadAuthorities(file, dir string) (*x509.CertPool, error) {
	pool, found := x509.NewCertPool(), false
	if file != "" {
		b, err := readPEM(file)
		if err != nil {
			return nil, err
		}
		if found = pool.AppendCertsFromPEM(b); !found {
			return nil, fmt.Errorf("%s holds no certificate", file)
		}
	}
	if dir == "" {
		return pool, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if b, err := readPEM(filepath.Join(dir, e.Name())); err == nil {
			found = pool.AppendCertsFromPEM(b) || found
		}
	}
	if !found {
		return nil, fmt.Errorf("%s holds no certificate", dir)
	}
	return pool, nil
}

// serve and connect do the TLS handshake at either end of a connection that has a deadline; without TLS the connection stays as it is.

func (t *TLS) serve(ctx context.Context, raw net.Conn) (net.Conn, error) {
	if t == nil {
		return raw, nil
	}
	conn := tls.Server(raw, t.now.Load().server)
	return conn, conn.HandshakeContext(ctx)
}

func (t *TLS) connect(ctx context.Context, raw net.Conn) (net.Conn, error) {
	if t == nil {
		return raw, nil
	}
	conn := tls.Client(raw, t.now.Load().client)
	return conn, conn.HandshakeContext(ctx)
}

const bindingLabel = "EXPERIMENTAL-cairn-bus" // RFC 5705, section 4

// binding is what only the two ends of one TLS connection know; it ties the proof of the secret to the connection.
func binding(conn net.Conn) ([]byte, error) {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return nil, nil
	}
	s := t.ConnectionState()
	return s.ExportKeyingMaterial(bindingLabel, nil, 32)
}
