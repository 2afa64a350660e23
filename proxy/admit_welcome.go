package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
)

// welcomes gets what a server says at login, and keeps it for a moment: a thousand clients of one kind that come at once
// are one login at the server. Only welcomes are kept, never refusals. It is safe for concurrent use.
type welcomes struct {
	nodes          func() []backend.Target
	connectTimeout time.Duration
	keepFor        time.Duration
	kept           *lru.Cache[welcomeKey, welcome]
	flights        singleflight.Group

	life   context.Context // ends with close
	cancel context.CancelFunc
	mu     struct {
		sync.Mutex
		closed bool
		logins sync.WaitGroup // Add under the lock, and not once closed
	}
}

// welcomeKey is a hash of all that a welcome depends on: a request may be 10 kB long.
type welcomeKey [sha256.Size]byte

type welcome struct {
	params []wire.ParamStatus
	at     time.Time
}

var errWelcomesClosed = errors.New("no more clients are admitted")

func newWelcomes(cfg AdmitConfig) *welcomes {
	kept, err := lru.New[welcomeKey, welcome](maxWelcomes)
	if err != nil {
		panic(err) // only for a size that isn't positive
	}
	// A login serves all who wait for it, so the context of none of them may end it; close does.
	life, cancel := context.WithCancel(context.Background())
	return &welcomes{
		nodes:          cfg.Nodes,
		connectTimeout: cfg.ConnectTimeout,
		keepFor:        cfg.WelcomeFor,
		kept:           kept,
		life:           life,
		cancel:         cancel,
	}
}

func (w *welcomes) close() {
	w.mu.Lock()
	w.mu.closed = true
	w.mu.Unlock()
	w.cancel()
	w.mu.logins.Wait()
}

// forget forgets what is kept.
func (w *welcomes) forget() { w.kept.Purge() }

// get returns the welcome for an authenticated client. An error of the server is a *wire.Error, word for word.
func (w *welcomes) get(ctx context.Context, id auth.Identity, q *startupRequest) ([]wire.ParamStatus, error) {
	key := keyOf(q)
	if k, ok := w.kept.Get(key); ok && time.Since(k.at) < w.keepFor {
		return slices.Clone(k.params), nil
	}
	ch := w.flights.DoChan(string(key[:]), func() (any, error) {
		w.mu.Lock()
		if w.mu.closed {
			w.mu.Unlock()
			return nil, errWelcomesClosed
		}
		w.mu.logins.Add(1)
		w.mu.Unlock()
		defer w.mu.logins.Done()
		at := time.Now() // the login's age counts from its beginning
		params, err := w.logIn(id, q)
		if err == nil && w.keepFor > 0 {
			w.kept.Add(key, welcome{params, at})
		}
		return params, err
	})
	select {
	case r := <-ch:
		params, _ := r.Val.([]wire.ParamStatus)
		return slices.Clone(params), r.Err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// keyOf hashes each part with its length, so that no two requests differ only in where one ends.
func keyOf(q *startupRequest) welcomeKey {
	h := sha256.New()
	var n [4]byte
	part := func(s string) {
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	part(q.database)
	part(q.user)
	for _, p := range q.raw() {
		part(p.Name)
		part(p.Value)
	}
	return welcomeKey(h.Sum(nil))
}

// codeFull is the SQLSTATE of a server, a role or a database that has as many connections as it may have.
const codeFull = "53300"

// welcome is welcomes.get, except for a client whose database is paused, and one who can't be welcomed by a server since that has no connection left. It
// may well be that Freshet's own pools have them all, and then they are there to serve it: it is given the welcome of
// whoever came last with the same database, user and parameters.
func (a *Admitter) welcome(ctx context.Context, id auth.Identity, q *startupRequest) ([]wire.ParamStatus, error) {
	if a.paused(q.database) != nil {
		if last, known := a.welcomes.kept.Get(keyOf(q)); known {
			return slices.Clone(last.params), nil
		}
	}
	params, err := a.welcomes.get(ctx, id, q)
	var e *wire.Error
	if errors.As(err, &e) && e.Code == codeFull {
		last, known := a.welcomes.kept.Get(keyOf(q))
		if s := a.server.Load(); known && s != nil && s.hasServers(q.database, q.user) {
			return slices.Clone(last.params), nil
		}
	}
	return params, err
}

// logIn asks the nodes in their order. The first that is up and has room decides.
func (w *welcomes) logIn(id auth.Identity, q *startupRequest) ([]wire.ParamStatus, error) {
	var failed []string
	var starting, full *wire.Error
	for _, node := range w.nodes() {
		login, err := backend.Connect(w.life, backend.ConnectConfig{
			Target: node, Database: q.database, Identity: id, Params: q.raw(), Timeout: w.connectTimeout,
		})
		if err == nil {
			params := w.withIsolation(login)
			// Nobody waits for what comes of it; the server ends the connection either way.
			login.Conn.SetDeadline(time.Now().Add(w.connectTimeout))
			login.Conn.Write(wire.AppendTerminate(nil))
			login.Conn.Close()
			if full != nil {
				// A replica has room: its welcome is the primary's but for this.
				for i := range params {
					if params[i].Name == "in_hot_standby" {
						params[i].Value = "off"
					}
				}
			}
			return params, nil
		}
		var e *wire.Error
		switch {
		case w.life.Err() != nil:
			return nil, errWelcomesClosed
		case errors.As(err, &e) && e.Code == codeFull:
			if full == nil {
				full = e
			}
		case e != nil && !notUp(e.Code):
			return nil, e
		case e != nil && starting == nil:
			starting = e
		case errors.Is(err, auth.ErrNoSecret):
			return nil, wire.Fatal("28000", "Freshet can't log in to the server as user \"%s\"", id.User()).WithDetail("%v", err)
		}
		failed = append(failed, err.Error())
	}
	if len(failed) == 0 {
		return nil, wire.Fatal("57P03", "no server is known yet").WithHint("Try again.")
	}
	if full != nil {
		return nil, full
	}
	if starting == nil {
		starting = wire.Fatal("57P03", "no server can be reached")
	}
	return nil, starting.WithDetail("%s", strings.Join(failed, "\n"))
}

// withIsolation adds what the server doesn't report by itself and sessions need to know: what isolation level a transaction of
// this client has that doesn't say. Without an answer nothing is taken for granted.
func (w *welcomes) withIsolation(login *backend.Login) []wire.ParamStatus {
	ctx, cancel := context.WithTimeout(w.life, w.connectTimeout)
	defer cancel()
	level, err := login.Ask(ctx, "SHOW "+isolationSetting) // SHOW looks nothing up in the client's search_path
	if err != nil {
		return login.Params
	}
	return append(login.Params, wire.ParamStatus{Name: isolationSetting, Value: level})
}

// splitWelcome undoes what withIsolation did.
func splitWelcome(params []wire.ParamStatus) (reported, unreported []wire.ParamStatus) {
	if n := len(params) - 1; n >= 0 && params[n].Name == isolationSetting {
		return params[:n], params[n:]
	}
	return params, nil
}

// notUp reports whether a server's refusal says that it starts, stops or recovers.
func notUp(code string) bool {
	return code == "57P03" || code == "57P01" || code == "57P02"
}
