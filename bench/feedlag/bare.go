package feedlag

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/freshet/freshet/bench/rig"
)

// measureBare measures how long commits take to a client that receives the stream, with the same crowd, and says how many transactions
// a second it has written.
func (r *Result) measureBare(ctx context.Context, g *rig.Rig, cfg Config) (rate float64, err error) {
	p := &probe{}
	defer p.close(context.WithoutCancel(ctx))
	if err := p.connectDirect(ctx, g); err != nil {
		return 0, err
	}
	b, err := receive(ctx, g)
	if err != nil {
		return 0, err
	}
	defer b.close()
	crowd, err := startCrowd(ctx, g, cfg)
	if err != nil {
		return 0, err
	}
	defer crowd.stop()
	r.Bare, err = sample(ctx, cfg.For, func(ctx context.Context) (time.Duration, error) {
		acknowledged, err := p.write(ctx)
		if err != nil {
			return 0, err
		}
		at, err := b.got(ctx, p.value)
		return max(0, at.Sub(acknowledged)), err
	})
	if err != nil {
		return 0, err
	}
	_, rate, err = crowd.wait()
	return rate, err
}

// receiver receives the stream of all that is committed.
type receiver struct {
	conn  *pgconn.PgConn
	stop  context.CancelFunc
	ended chan struct{}
	seen  chan seen
	err   error // when ended
}

// seen is that the commit of this value of the sample has come.
type seen struct {
	value int64
	at    time.Time
}

func receive(ctx context.Context, g *rig.Rig) (*receiver, error) {
	cfg, err := pgconn.ParseConfig(g.Cluster.Primary().URL(database))
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	const slot = "bare"
	_, err = pglogrepl.CreateReplicationSlot(ctx, conn, slot, "pgoutput", pglogrepl.CreateReplicationSlotOptions{Temporary: true, Mode: pglogrepl.LogicalReplication})
	if err == nil {
		err = pglogrepl.StartReplication(ctx, conn, slot, 0, pglogrepl.StartReplicationOptions{
			Mode: pglogrepl.LogicalReplication, PluginArgs: []string{"proto_version '1'", "publication_names 'freshet'"},
		})
	}
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	b := &receiver{conn: conn, stop: stop, ended: make(chan struct{}), seen: make(chan seen, 1024)}
	go func() {
		defer close(b.ended)
		b.err = b.run(ctx)
	}()
	return b, nil
}

func (b *receiver) close() {
	b.stop()
	<-b.ended
	_ = b.conn.Close(context.Background()) // its deadline has passed: this doesn't wait
}

// run tells of each commit that has changed the sample.
func (b *receiver) run(ctx context.Context) error {
	var relation uint32 // the sample's
	value := int64(-1)
	var end pglogrepl.LSN
	told := time.Now()
	for {
		if time.Since(told) > time.Second {
			told = time.Now()
			if err := pglogrepl.SendStandbyStatusUpdate(ctx, b.conn, pglogrepl.StandbyStatusUpdate{WALWritePosition: end}); err != nil {
				return err
			}
		}
		m, err := b.conn.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		data, ok := m.(*pgproto3.CopyData)
		if !ok {
			return fmt.Errorf("an unexpected %T", m)
		}
		if len(data.Data) == 0 || data.Data[0] != pglogrepl.XLogDataByteID {
			continue
		}
		x, err := pglogrepl.ParseXLogData(data.Data[1:])
		if err != nil {
			return err
		}
		end = max(end, x.WALStart)
		// Only what is needed is taken apart: what is measured is the stream.
		switch pglogrepl.MessageType(x.WALData[0]) {
		case pglogrepl.MessageTypeRelation:
			m, err := pglogrepl.Parse(x.WALData)
			if err != nil {
				return err
			}
			if rel := m.(*pglogrepl.RelationMessage); rel.RelationName == "sample" {
				relation = rel.RelationID
			}
		case pglogrepl.MessageTypeUpdate:
			if relation == 0 || !bytes.HasPrefix(x.WALData[1:], []byte{byte(relation >> 24), byte(relation >> 16), byte(relation >> 8), byte(relation)}) {
				break
			}
			m, err := pglogrepl.Parse(x.WALData)
			if err != nil {
				return err
			}
			tuple := m.(*pglogrepl.UpdateMessage).NewTuple
			if value, err = strconv.ParseInt(string(tuple.Columns[1].Data), 10, 64); err != nil {
				return err
			}
		case pglogrepl.MessageTypeCommit:
			if value < 0 {
				break
			}
			select {
			case b.seen <- seen{value, time.Now()}:
			case <-ctx.Done():
				return ctx.Err()
			}
			value = -1
		}
	}
}

// got waits for the value's commit and says when it came.
func (b *receiver) got(ctx context.Context, value int64) (time.Time, error) {
	for {
		select {
		case s := <-b.seen:
			if s.value == value {
				return s.at, nil
			}
		case <-b.ended:
			return time.Time{}, fmt.Errorf("receiving the stream: %w", b.err)
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}
