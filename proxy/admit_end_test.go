package proxy

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
)

func TestAdmissionEndsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	dead := target(t, "postgres://u:p@"+silent.Addr().String()+"/d?sslmode=disable")
	begin := func(cfg AdmitConfig) (*door, func() *wire.Error) {
		cfg.AuthType = AuthTrust
		cfg.Nodes = func() []backend.Target { return []backend.Target{dead} }
		d := open(t, NewAdmitter(cfg))
		client, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		client.Write(wire.AppendStartup(nil, wire.Protocol30, []wire.Param{{Name: "user", Value: "u"}}))
		return d, func() *wire.Error {
			r := wire.NewReader(client)
			for {
				typ, body, err := r.Message(10000)
				if err != nil {
					t.Fatal(err)
				}
				if typ == wire.MsgErrorResponse {
					e, err := wire.DecodeError(body)
					if err != nil {
						t.Fatal(err)
					}
					return e
				}
			}
		}
	}
	t.Run("time", func(t *testing.T) {
		d, told := begin(AdmitConfig{Timeout: 50 * time.Millisecond})
		if e := told(); e.Severity != "FATAL" || e.Code != "57014" {
			t.Error(e)
		}
		if _, err := d.last(t); !errors.Is(err, errAdmitTimeout) {
			t.Error(err)
		}
	})
	t.Run("no answer from the server", func(t *testing.T) {
		_, told := begin(AdmitConfig{ConnectTimeout: 50 * time.Millisecond})
		if e := told(); e.Code != "57P03" {
			t.Error(e)
		}
	})
	t.Run("shutdown", func(t *testing.T) {
		a := NewAdmitter(AdmitConfig{AuthType: AuthTrust, Nodes: func() []backend.Target { return []backend.Target{dead} }})
		defer a.Close()
		client, server := tcpPair(t)
		client.Write(wire.AppendStartup(nil, wire.Protocol30, []wire.Param{{Name: "user", Value: "u"}}))
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			client.Read(make([]byte, 100)) // AuthenticationOk
			cancel()
		}()
		_, err := a.Admit(ctx, server)
		var r *Refusal
		if !errors.As(err, &r) || r.Told == nil || r.Told.Code != "57P03" || !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func tcpPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client, server
}
