package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// slot is the physical replication slot that the node streams from: however
// long it is down or paused, the primary keeps what it needs.
func (n *Node) slot() string { return n.name }

func (n *Node) createSlot(ctx context.Context, name string) error {
	return n.Exec(ctx, `SELECT pg_create_physical_replication_slot($1, true)
		WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)`, name)
}

// conninfo is how a replica connects to this node. The password is in a file,
// since a change of primary_conninfo is logged.
func (n *Node) conninfo(replica, passfile string) string {
	return fmt.Sprintf("host=%s port=%d user=%s passfile='%s' application_name=%s sslmode=disable",
		n.Host(), n.Port(), Superuser, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(passfile), replica)
}

// writeStandby makes a data directory that of a replica, like pg_basebackup -R.
func (n *Node) writeStandby(upstream *Node) error {
	// libpq's escapes in a password file.
	password := strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(n.c.password)
	if err := n.write("passfile", "*:*:*:*:"+password+"\n"); err != nil {
		return err
	}
	err := n.write("postgresql.auto.conf", fmt.Sprintf("primary_conninfo = %s\nprimary_slot_name = %s\n",
		quoteSetting(upstream.conninfo(n.name, filepath.Join(n.data, "passfile"))), quoteSetting(n.slot())))
	if err != nil {
		return err
	}
	n.upstream.Store(upstream)
	return n.write("standby.signal", "")
}

// waitStreaming returns when upstream sees the node stream.
func (n *Node) waitStreaming(ctx context.Context, upstream *Node) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	conn, err := upstream.Connect(ctx, App)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	err = poll(ctx, func() (bool, error) {
		v, err := value(ctx, conn, "SELECT count(*) FROM pg_stat_replication WHERE application_name = $1 AND state = 'streaming'", n.name)
		return v != "0", err
	})
	if err != nil {
		return fmt.Errorf("%s doesn't stream from %s: %w; its log ends with:\n%s", n.name, upstream.name, err, n.LogTail(4096))
	}
	return nil
}

// AddReplica makes another replica of the primary while the cluster is in use.
func (c *Cluster) AddReplica(ctx context.Context) (*Node, error) {
	primary := c.Primary()
	n := c.newNode()
	c.logf("add %s", n.name)
	if err := n.clone(ctx, primary); err != nil {
		return nil, err
	}
	if err := n.startFirst(ctx); err != nil {
		return nil, err
	}
	return n, n.waitStreaming(ctx, primary)
}

// Rejoin makes the node, whatever it was and held, a replica of upstream, from
// a new copy of its data: what becomes of an old primary after a failover.
func (n *Node) Rejoin(ctx context.Context, upstream *Node) error {
	if n == upstream {
		return fmt.Errorf("%s can't follow itself", n.name)
	}
	n.c.logf("%s rejoins as a replica of %s", n.name, upstream.name)
	if err := n.Stop(Immediate); err != nil {
		return err
	}
	n.removeSharedMemory()
	if err := os.RemoveAll(n.data); err != nil {
		return err
	}
	if err := n.clone(ctx, upstream); err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	return n.waitStreaming(ctx, upstream)
}

// Follow has a replica, up or down, stream from another node: what becomes of
// the other replicas after a failover. It returns when it streams, or at once
// if it is down.
func (n *Node) Follow(ctx context.Context, upstream *Node) error {
	if n == upstream || n.upstream.Load() == nil {
		return fmt.Errorf("%s can't follow %s: it is no replica", n.name, upstream.name)
	}
	n.c.logf("%s follows %s", n.name, upstream.name)
	if err := upstream.createSlot(ctx, n.slot()); err != nil {
		return err
	}
	if err := n.writeStandby(upstream); err != nil {
		return err
	}
	if !n.Running() {
		return nil
	}
	if err := n.Exec(ctx, "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	return n.waitStreaming(ctx, upstream)
}

// clone makes the data directory a copy of a running node's, as a replica of
// it. This is pg_basebackup's work by the low-level API (manual: "Making a
// Base Backup Using the Low Level API"), since not every distribution of
// Postgres' server comes with pg_basebackup.
func (n *Node) clone(ctx context.Context, from *Node) error {
	// The slot comes first: from here on, the WAL that the copy needs is kept.
	if err := from.createSlot(ctx, n.slot()); err != nil {
		return err
	}
	conn, err := from.Connect(ctx, App)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) // which ends the backup, too
	start, stop := "SELECT pg_backup_start($1, true)", "SELECT labelfile FROM pg_backup_stop(false)"
	if n.c.version < 15 {
		start, stop = "SELECT pg_start_backup($1, true, false)", "SELECT labelfile FROM pg_stop_backup(false, false)"
	}
	if _, err := conn.Exec(ctx, start, n.name); err != nil {
		return fmt.Errorf("start backup of %s: %w", from.name, err)
	}
	if err := copyTree(from.data, n.data, n.c.account, notInBackup); err != nil {
		return err
	}
	label, err := value(ctx, conn, stop)
	if err != nil {
		return fmt.Errorf("end backup of %s: %w", from.name, err)
	}
	if err := n.write("backup_label", label); err != nil {
		return err
	}
	return n.writeStandby(from)
}

// notInBackup tells what the manual says to leave out of a base backup. The
// WAL comes by streaming.
func notInBackup(rel string, dir bool) bool {
	switch top, _, below := strings.Cut(rel, string(filepath.Separator)); top {
	case "postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal", "backup_label", "tablespace_map":
		return true
	case "pg_wal":
		return below && !dir
	case "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans":
		return below
	}
	base := filepath.Base(rel)
	return strings.HasPrefix(base, "pgsql_tmp") || base == "pg_internal.init"
}

// Promote makes a replica a primary, on a new timeline, and returns when it
// takes writes. Nothing happens to the old primary: Stop or Kill it before,
// or have two. The other replicas go on following whom they followed: see
// Follow and Rejoin.
func (n *Node) Promote(ctx context.Context) error {
	n.c.logf("promote %s", n.name)
	v, err := n.Value(ctx, "SELECT pg_promote(true, 60)")
	if err != nil {
		return err
	}
	if v != "t" {
		return fmt.Errorf("%s isn't promoted after 60 s", n.name)
	}
	n.upstream.Store(nil)
	n.c.primary.Store(n)
	return nil
}

// PauseReplay has a replica receive WAL but not apply it, and returns when it
// has stopped to: from then on it lags.
func (n *Node) PauseReplay(ctx context.Context) error {
	conn, err := n.Connect(ctx, App)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "SELECT pg_wal_replay_pause()"); err != nil {
		return fmt.Errorf("pause replay of %s: %w", n.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return poll(ctx, func() (bool, error) {
		v, err := value(ctx, conn, "SELECT pg_get_wal_replay_pause_state()")
		return v == "paused", err
	})
}

// ResumeReplay ends PauseReplay.
func (n *Node) ResumeReplay(ctx context.Context) error {
	return n.Exec(ctx, "SELECT pg_wal_replay_resume()")
}

// WaitCaughtUp returns when every replica that is up has applied all that the
// primary had flushed when it was called: everything acknowledged, but for
// commits under synchronous_commit=off, which are flushed a little later.
// It fails when ctx ends before, which it will if the replay of one is
// paused. Frozen replicas are passed over.
func (c *Cluster) WaitCaughtUp(ctx context.Context) error {
	lsn, err := c.Primary().Value(ctx, "SELECT pg_current_wal_flush_lsn()")
	if err != nil {
		return err
	}
	for _, r := range c.Replicas() {
		if !r.Running() || r.frozen.Load() {
			continue
		}
		if err := r.WaitReplayed(ctx, lsn); err != nil {
			return err
		}
	}
	return nil
}

// WaitReplayed returns when a replica has applied the WAL up to a location,
// e.g. 16/B374D848.
func (n *Node) WaitReplayed(ctx context.Context, lsn string) error {
	conn, err := n.Connect(ctx, App)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var at string
	err = poll(ctx, func() (bool, error) {
		at, err = value(ctx, conn, "SELECT pg_last_wal_replay_lsn()")
		if err != nil {
			return false, err
		}
		v, err := value(ctx, conn, "SELECT $1::pg_lsn >= $2::pg_lsn", at, lsn)
		return v == "t", err
	})
	if err != nil {
		return fmt.Errorf("%s is at %s, not yet at %s: %w", n.name, at, lsn, err)
	}
	return nil
}

// SetSynchronous has every commit wait for all the named replicas (as far as
// its synchronous_commit says), or for none, and returns when they are taken
// into account.
func (c *Cluster) SetSynchronous(ctx context.Context, replicas ...string) error {
	p := c.Primary()
	list := ""
	if len(replicas) > 0 {
		known := c.Replicas()
		quoted := make([]string, len(replicas))
		for i, name := range replicas {
			if !slices.ContainsFunc(known, func(r *Node) bool { return r.name == name }) {
				return fmt.Errorf("there is no replica %s to wait for", name)
			}
			quoted[i] = quoteIdentifier(name)
		}
		list = fmt.Sprintf("FIRST %d (%s)", len(replicas), strings.Join(quoted, ", "))
	}
	conn, err := p.Connect(ctx, App)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = "+quoteLiteral(list)); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err = poll(ctx, func() (bool, error) {
		v, err := value(ctx, conn, `SELECT current_setting('synchronous_standby_names') = $1 AND
			(SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync') = $2`, list, len(replicas))
		return v == "t", err
	})
	if err != nil {
		return fmt.Errorf("synchronous replicas %s: %w", list, err)
	}
	return nil
}

// CreateUser creates a role that can log in, with options such as "SUPERUSER"
// or "CONNECTION LIMIT 3" as in CREATE ROLE.
func (c *Cluster) CreateUser(ctx context.Context, name, password string, options ...string) error {
	return c.Primary().Exec(ctx, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD %s %s",
		quoteIdentifier(name), quoteLiteral(password), strings.Join(options, " ")))
}
