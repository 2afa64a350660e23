package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/freshet/freshet/proxy/wire"
)

// SendCancel asks a server to cancel what the backend pid is doing, over a connection of its own, encrypted as the
// target's others are. It returns nil when the server has closed that connection: only then has the signal been sent, so
// only then may the backend be given to somebody else (HAZARDS 4). That the query was cancelled is not said.
func SendCancel(ctx context.Context, target Target, pid uint32, secret []byte) error {
	var errs []error
	for _, way := range target.sealed.tls {
		if way.is == modeNone {
			break
		}
		err := sendCancel(ctx, target, way, pid, secret)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
		if !otherWayMayHelp(err) || ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("send cancel request to %s: %w", target.Addr(), errors.Join(errs...))
}

func sendCancel(ctx context.Context, target Target, way tlsMode, pid uint32, secret []byte) error {
	conn, err := dial(ctx, target)
	if err != nil {
		return err
	}
	defer conn.Close()
	release := watch(ctx, conn)
	defer release()
	secure, err := secureConn(ctx, conn, way, target.sealed.tls)
	if err != nil {
		return err
	}
	if _, err := secure.Write(wire.AppendCancelRequest(nil, pid, secret)); err != nil {
		return err
	}
	// The server sends nothing, and closes. On some systems closing is a reset; both are what was waited for.
	_, err = io.Copy(io.Discard, io.LimitReader(secure, maxStartupMessage))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var op *net.OpError
	if err != nil && !errors.As(err, &op) && !isEOF(err) {
		return err
	}
	return nil
}
