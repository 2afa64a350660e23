package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/freshet/freshet/consistency"
)

// checkReplica looks at whether a replica follows the primary, and answers as it does.
func (k *inspection) checkReplica(ctx context.Context, url string) {
	s, standby, err := k.reach(ctx, url)
	what := "replica"
	if s != nil {
		what += " " + s.addr
		if s.conn != nil {
			defer s.conn.Close(context.WithoutCancel(ctx))
		}
	}
	switch {
	case err != nil:
		k.add(levelDegraded, what, "it can't be used: "+err.Error(), "see --replica, pg_hba.conf, and whether the server runs")
		return
	case !standby && k.primary != nil && s.addr == k.primary.addr:
		k.add(levelNote, what, "it is the primary itself", "name another server, or leave it out")
		return
	case !standby:
		k.add(levelDegraded, what, "it isn't a replica: it is out of recovery", "two primaries, perhaps: see which one applications write to")
		return
	case k.primary == nil:
		k.add(levelNote, what, "it is a standby; of what can't be told without the primary")
		return
	case s.system != "" && k.primary.system != "" && s.system != k.primary.system:
		k.add(levelDegraded, what, "it is a replica of another cluster than the primary's", "take it out of --replica")
		return
	case s.version/10000 != k.primary.version/10000:
		k.add(levelDegraded, what, fmt.Sprintf("its version is %d, the primary's %d", s.version/10000, k.primary.version/10000))
		return
	}
	if err := k.checkReplay(ctx, what, s); err != nil {
		k.add(levelDegraded, what, err.Error())
		return
	}
	k.checkConflicts(ctx, what, s)
	var differ []string
	for _, name := range sessionSettings {
		if s.settings[name] != k.primary.settings[name] {
			differ = append(differ, fmt.Sprintf("%s is %q, on the primary %q", name, s.settings[name], k.primary.settings[name]))
		}
	}
	if len(differ) > 0 {
		slices.Sort(differ)
		k.add(levelDegraded, what, "sessions begin with other settings than on the primary, so that answers can look different: "+strings.Join(differ, "; "),
			"set them alike in postgresql.conf")
	}
}

// checkReplay waits until the replica has replayed what the primary has now.
func (k *inspection) checkReplay(ctx context.Context, what string, s *checkedServer) error {
	var text string
	if err := k.primary.conn.QueryRow(ctx, consistency.PositionSQL).Scan(&text); err != nil {
		return err
	}
	target, err := consistency.ParseLSN(text)
	if err != nil {
		return err
	}
	if _, err := k.primary.conn.PgConn().Exec(ctx, consistency.FlushSQL).ReadAll(); err != nil {
		return err
	}
	var streaming, paused bool
	var at consistency.LSN
	began := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if err := s.conn.QueryRow(ctx, `SELECT coalesce(pg_last_wal_replay_lsn(), '0/0')::text, EXISTS (SELECT FROM pg_stat_get_wal_receiver() WHERE pid IS NOT NULL),
			pg_is_wal_replay_paused()`).Scan(&text, &streaming, &paused); err != nil {
			return err
		}
		if at, err = consistency.ParseLSN(text); err != nil {
			return err
		}
		if at >= target || time.Since(began) > k.cfg.MaxStaleness {
			break
		}
		time.Sleep(pause) // there is nothing to wait on
	}
	took := time.Since(began).Round(time.Millisecond)
	switch behind := max(0, int64(target)-int64(at)); {
	case paused:
		k.add(levelDegraded, what, "its replay is paused", "SELECT pg_wal_replay_resume(); -- on it")
	case !streaming && at < target:
		k.add(levelDegraded, what, fmt.Sprintf("it doesn't stream from the primary, and is %d bytes behind", behind), "see primary_conninfo and its log")
	case at < target:
		k.add(levelDegraded, what, fmt.Sprintf("it is %d bytes behind, and hasn't caught up within --max-staleness (%v)", behind, k.cfg.MaxStaleness))
	case !streaming:
		k.add(levelNote, what, "it has caught up, but not by streaming: it may fall behind by a WAL file at a time")
	default:
		k.add(levelOK, what, fmt.Sprintf("PostgreSQL %d.%d, streaming; it had caught up after %v", s.version/10000, s.version%10000, took))
	}
	return nil
}

// checkConflicts looks at what becomes of reads that are in the way of replay, and of replay behind reads.
func (k *inspection) checkConflicts(ctx context.Context, what string, s *checkedServer) {
	var feedback bool
	var delay int // ms; -1: for ever
	if err := s.conn.QueryRow(ctx, `SELECT current_setting('hot_standby_feedback')::bool,
		(SELECT setting::int FROM pg_settings WHERE name = 'max_standby_streaming_delay')`).Scan(&feedback, &delay); err != nil {
		k.add(levelDegraded, what, err.Error())
		return
	}
	held := "without end"
	if delay >= 0 {
		held = "for up to " + (time.Duration(delay) * time.Millisecond).String()
	}
	switch {
	case !feedback && (delay < 0 || time.Duration(delay)*time.Millisecond > k.cfg.MaxStaleness):
		k.add(levelNote, what, fmt.Sprintf("a read that needs rows which VACUUM has removed holds up its replay %s, and it is out of rotation meanwhile", held),
			"ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf(); -- on it")
	case !feedback:
		k.add(levelNote, what, fmt.Sprintf("reads that need rows which VACUUM has removed are cancelled after %v, and repeated elsewhere", time.Duration(delay)*time.Millisecond),
			"ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf(); -- on it")
	}
}
