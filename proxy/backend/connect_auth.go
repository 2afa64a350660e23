package backend

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/wire"
)

// authState is how far the answers to a server's authentication requests have come.
type authState struct {
	id    auth.Identity
	rule  authRule
	conn  net.Conn
	begun bool // a method was asked for
	ok    bool

	scram    *auth.Client
	sentLast bool // SCRAM's client-final-message went out
	verified bool // and the server's signature was right
}

// answer does what one authentication request asks for.
func (s *authState) answer(a wire.Authentication) error {
	if s.ok {
		return errors.New("the server asks for authentication again")
	}
	switch a.Kind {
	case wire.AuthOk:
		if s.scram != nil && !s.verified {
			return auth.ErrServerProof // it let us in without having shown that it knows the verifier
		}
		if !s.begun {
			if err := s.rule.check("none"); err != nil {
				return err
			}
		}
		if s.rule.binding == "require" && (s.scram == nil || s.scram.Mechanism() != auth.MechanismSCRAMPlus) {
			return errors.New("channel_binding=require, and the server authenticated without")
		}
		s.ok = true
		return nil
	case wire.AuthSASLContinue, wire.AuthSASLFinal:
		return s.sasl(a)
	}
	if s.begun {
		return errors.New("the server changes the method of authentication")
	}
	s.begun = true
	switch a.Kind {
	case wire.AuthSASL:
		return s.sasl(a)
	case wire.AuthMD5Password:
		if err := s.rule.check("md5"); err != nil {
			return err
		}
		answer, ok := s.id.MD5(a.Data)
		return s.password(answer, ok, "md5")
	case wire.AuthCleartextPassword:
		if err := s.rule.check("password"); err != nil {
			return err
		}
		answer, ok := s.id.Cleartext()
		return s.password(answer, ok, "password")
	}
	return fmt.Errorf("the server asks for authentication by method %d, which isn't supported", a.Kind)
}

func (s *authState) password(answer string, ok bool, method string) error {
	if !ok {
		return fmt.Errorf("%w: pg_hba.conf asks for %q for user %q; with \"scram-sha-256\" Freshet can log in as its clients",
			auth.ErrNoSecret, method, s.id.User())
	}
	_, err := s.conn.Write(wire.AppendPassword(nil, answer))
	return err
}

func (s *authState) sasl(a wire.Authentication) error {
	switch {
	case a.Kind == wire.AuthSASL:
		if err := s.rule.check("scram-sha-256"); err != nil {
			return err
		}
		list, err := a.Mechanisms()
		if err != nil {
			return fmt.Errorf("authentication request: %w", err)
		}
		var offered []string
		for name, ok := list.Next(); ok; name, ok = list.Next() {
			offered = append(offered, string(name))
		}
		t, isTLS := s.conn.(*tls.Conn)
		var hash []byte
		if isTLS && s.rule.binding != "disable" {
			hash = auth.CertificateHash(t.ConnectionState().PeerCertificates[0])
		}
		if s.scram, err = auth.NewClient(s.id, offered, isTLS, hash); err != nil {
			return err
		}
		if s.rule.binding == "require" && s.scram.Mechanism() != auth.MechanismSCRAMPlus {
			return errors.New("channel_binding=require, and the server doesn't offer SCRAM-SHA-256-PLUS")
		}
		_, err = s.conn.Write(wire.AppendSASLInitialResponse(nil, s.scram.Mechanism(), s.scram.First()))
		return err
	case a.Kind == wire.AuthSASLContinue && s.scram != nil && !s.sentLast:
		final, err := s.scram.Final(a.Data)
		if err != nil {
			return err
		}
		s.sentLast = true
		_, err = s.conn.Write(wire.AppendSASLResponse(nil, final))
		return err
	case a.Kind == wire.AuthSASLFinal && s.sentLast && !s.verified:
		if err := s.scram.Verify(a.Data); err != nil {
			return err
		}
		s.verified = true
		return nil
	}
	return errors.New("the server's SASL messages come in an impossible order")
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
