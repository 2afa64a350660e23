package shard

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second // for what should take no time at all

// transport makes pairs of connected connections, the first of which is for the loop.
type transport struct {
	name     string
	portable bool // the loop, which is then driven by goroutines
	pair     func(t testing.TB) (ours, theirs net.Conn)
}

// transports are all the ways in which bytes can come to a loop. Whatever a test promises, it promises for each.
var transports = []transport{
	{"tcp", false, tcpPair},
	{"unix", false, unixPair},
	{"tls", false, tlsPair},
	{"pipe", false, pipePair},
	{"portable tcp", true, tcpPair},
	{"portable unix", true, unixPair},
	{"portable pipe", true, pipePair},
}

// holds says whether bytes that were written are held until they are read.
func (tr transport) holds() bool { return tr.name != "pipe" && tr.name != "portable pipe" }

// onEach runs a test on every transport.
func onEach(t *testing.T, test func(t *testing.T, tr transport)) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) { test(t, tr) })
	}
}

// loop starts a loop that ends with the test.
func (tr transport) loop(t testing.TB, opts Options) *Loop {
	t.Helper()
	opts.Portable = opts.Portable || tr.portable
	l, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); l.Run() }()
	t.Cleanup(func() { l.Close(); <-ended })
	return l
}

func pipePair(testing.TB) (net.Conn, net.Conn) { return net.Pipe() }

func tcpPair(t testing.TB) (net.Conn, net.Conn) { return pairOf(t, "tcp", "127.0.0.1:0") }

func unixPair(t testing.TB) (net.Conn, net.Conn) {
	return pairOf(t, "unix", filepath.Join(t.TempDir(), "s"))
}

func pairOf(t testing.TB, network, address string) (ours, theirs net.Conn) {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if theirs, err = net.Dial(network, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if ours, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	return ours, theirs
}

func tlsPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	a, b := tcpPair(t)
	server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{certificate()}})
	client := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
	failed := make(chan error, 1)
	go func() { failed <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return server, client
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// funcs is a Handler of functions, each of which may be nil.
type funcs struct {
	data    func(c *Conn, p []byte)
	closed  func(c *Conn, err error)
	drained func(c *Conn)
}

func (f *funcs) Data(c *Conn, p []byte) {
	if f.data != nil {
		f.data(c, p)
	}
}

func (f *funcs) Closed(c *Conn, err error) {
	if f.closed != nil {
		f.closed(c, err)
	}
}

func (f *funcs) Drained(c *Conn) {
	if f.drained != nil {
		f.drained(c)
	}
}

// on runs fn on the loop and waits for it.
func on(t testing.TB, l *Loop, fn func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(func() { defer close(done); fn() }) {
		t.Fatal("the loop is closed")
	}
	wait(t, done, "the loop runs a function")
}

// adopt has the loop adopt nc.
func adopt(t testing.TB, l *Loop, nc net.Conn, h Handler, initial ...byte) (c *Conn) {
	t.Helper()
	on(t, l, func() {
		var err error
		if c, err = l.Adopt(nc, h, initial); err != nil {
			t.Error(err)
		}
	})
	return c
}

// wait waits for a value on ch.
func wait[T any](t testing.TB, ch <-chan T, what string) (v T) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v = <-ch:
	case <-timer.C:
		t.Fatalf("waited in vain until %s", what)
	}
	return v
}

// rests checks that a loop with nothing to do does nothing.
func rests(t testing.TB, l *Loop) {
	t.Helper()
	on(t, l, func() {})
	time.Sleep(20 * time.Millisecond) // what is under way may end
	before := l.Stats().Turns
	time.Sleep(50 * time.Millisecond) // time to spin in
	if n := l.Stats().Turns - before; n > 3 {
		t.Errorf("%d turns with nothing to do", n)
	}
}

// until waits until cond, called on the loop, is true.
func until(t testing.TB, l *Loop, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		var ok bool
		on(t, l, func() { ok = cond() })
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(time.Millisecond) // polling
	}
}
