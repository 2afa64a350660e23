package proxy

import (
	"context"
	"errors"
	"fmt"

	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/wire"
)

// authenticate has the client prove who it is, and sends AuthenticationOk.
func (a *Admitter) authenticate(ctx context.Context, h *handshake) (auth.Identity, error) {
	if a.cfg.AuthType == AuthCert {
		if err := h.authenticateByCertificate(); err != nil {
			return auth.Identity{}, err
		}
	}
	if a.cfg.AuthType == AuthTrust || a.cfg.AuthType == AuthCert {
		return a.letIn(ctx, h)
	}
	role, err := a.cfg.Verifiers.Verifier(ctx, h.req.user)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, auth.ErrClosed) {
			return auth.Identity{}, err
		}
		// The client hasn't shown who it is: what failed where is none of its business.
		return auth.Identity{}, fmt.Errorf("%w (%v)", wire.Fatal("57P03", "password verifiers can't be read from the server at the moment").
			WithHint("Freshet's log says why."), err)
	}
	exchange := a.mock.NewServer(h.req.user, role.Iterations)
	if !role.Verifier.IsZero() {
		exchange = auth.NewServer(h.req.user, role.Verifier)
	}
	if h.secure != nil {
		exchange.Bind(h.tls.CertificateHash())
	}
	final, id, err := h.scram(exchange)
	switch {
	case errors.Is(err, auth.ErrProof):
		reason := errors.New("wrong password")
		if !role.Exists {
			reason = errors.New("no such role")
		} else if role.Unusable != nil {
			reason = role.Unusable
		}
		return auth.Identity{}, fmt.Errorf("%w (%v)", wrongPassword(h.req.user), reason)
	case err != nil:
		return auth.Identity{}, err
	}
	out := wire.AppendAuthentication(nil, wire.AuthSASLFinal, final)
	if _, err := h.conn.Write(wire.AppendAuthenticationOk(out)); err != nil {
		return auth.Identity{}, err
	}
	if !role.CanLogin { // only somebody who has the password is told
		return auth.Identity{}, wire.Fatal("28000", "role \"%s\" is not permitted to log in", h.req.user)
	}
	if !role.Identity.IsZero() {
		id = role.Identity
	}
	return id, nil
}

// letIn lets in who needs no password. Where there is a list of users, it has to be on it, and the password there, if
// any, is for the servers.
func (a *Admitter) letIn(ctx context.Context, h *handshake) (auth.Identity, error) {
	id := auth.Trusted(h.req.user)
	if a.cfg.Verifiers != nil {
		role, err := a.cfg.Verifiers.Verifier(ctx, h.req.user)
		if err != nil {
			return auth.Identity{}, err
		}
		if !role.Exists {
			return auth.Identity{}, wire.Fatal("28000", "user \"%s\" is not in Freshet's --auth-file", h.req.user)
		}
		if !role.Identity.IsZero() {
			id = role.Identity
		}
	}
	_, err := h.conn.Write(wire.AppendAuthenticationOk(nil))
	return id, err
}

// wrongPassword is the same for all who fail, whatever the reason: the hint must not tell one from the other.
func wrongPassword(user string) *wire.Error {
	return wire.Fatal("28P01", "password authentication failed for user \"%s\"", user).
		WithHint("If the password is right, Freshet's log says why it can't be used.")
}

// scram runs the exchange up to the client's proof.
func (h *handshake) scram(exchange *auth.Server) (final []byte, id auth.Identity, err error) {
	if _, err := h.conn.Write(wire.AppendAuthenticationSASL(nil, exchange.Mechanisms()...)); err != nil {
		return nil, id, err
	}
	body, err := h.saslMessage()
	if err != nil {
		return nil, id, err
	}
	initial, err := wire.DecodeSASLInitialResponse(body)
	if err != nil {
		return nil, id, err
	}
	if err := exchange.Choose(string(initial.Mechanism)); err != nil {
		return nil, id, err
	}
	first := initial.Response
	if first == nil { // "none": an empty challenge asks for it (RFC 4422, 5.1)
		if _, err := h.conn.Write(wire.AppendAuthentication(nil, wire.AuthSASLContinue, nil)); err != nil {
			return nil, id, err
		}
		if first, err = h.saslMessage(); err != nil {
			return nil, id, err
		}
	}
	challenge, err := exchange.First(first)
	if err != nil {
		return nil, id, err
	}
	if _, err := h.conn.Write(wire.AppendAuthentication(nil, wire.AuthSASLContinue, challenge)); err != nil {
		return nil, id, err
	}
	if body, err = h.saslMessage(); err != nil {
		return nil, id, err
	}
	return exchange.Final(body)
}

// saslMessage reads a message of the client's in the exchange. The body is valid until the next one.
func (h *handshake) saslMessage() ([]byte, error) {
	// The name of the mechanism and two lengths come on top in the first.
	typ, body, err := h.r.Message(auth.MaxSASLMessage + 64)
	if err != nil {
		return nil, h.gone(err)
	}
	if typ != wire.MsgPasswordMessage {
		return nil, wire.Fatal("08P01", "expected SASL response, got message type %d", typ)
	}
	return body, nil
}
