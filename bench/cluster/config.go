package cluster

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// defaultSettings of every node. Those about replicas are on the primary too,
// since roles change.
func defaultSettings() map[string]string {
	return map[string]string{
		// Freshet's needs.
		"wal_level":              "logical",
		"max_wal_senders":        "20",
		"max_replication_slots":  "20",
		"hot_standby":            "on",
		"max_connections":        "200",
		"track_commit_timestamp": "off",

		// Tests use them.
		"max_prepared_transactions": "10",

		// A cluster is thrown away: what is lost in a power cut is lost anyway.
		// Killing servers loses nothing, as the kernel has what was written.
		"fsync":          "off",
		"autovacuum":     "on",
		"shared_buffers": "64MB",
		// It may be in memory (defaultParent).
		"max_wal_size":           "512MB",
		"max_slot_wal_keep_size": "2GB",
		"timezone":               "UTC",
		"log_timezone":           "UTC",

		// Connections that were cut are made again at once.
		"wal_retrieve_retry_interval":  "50ms",
		"wal_receiver_status_interval": "1s",

		// Nothing outside the folder, so that it is all gone with it, even
		// after SIGKILL.
		"dynamic_shared_memory_type": "mmap",

		"log_line_prefix":   "%m [%p] %q%u@%d/%a ",
		"logging_collector": "off",
		"log_destination":   "stderr",
	}
}

// writeConfig writes what is known only now, and is different for each node.
// It is done at each start, so that files copied from another node don't matter.
func (n *Node) writeConfig() error {
	s := defaultSettings()
	s["listen_addresses"] = n.Host()
	s["port"] = fmt.Sprint(n.Port())
	s["unix_socket_directories"] = n.c.sockets
	s["unix_socket_permissions"] = "0700"
	s["cluster_name"] = n.name
	if n.c.caFile != "" {
		s["ssl"] = "on"
		s["ssl_ca_file"] = n.c.caFile
		s["ssl_cert_file"] = filepath.Join(filepath.Dir(n.c.caFile), "server.crt")
		s["ssl_key_file"] = filepath.Join(filepath.Dir(n.c.caFile), "server.key")
	}
	maps.Copy(s, n.c.opts.Settings)

	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, "%s = %s\n", k, quoteSetting(s[k]))
	}
	// initdb's postgresql.conf is not read: everything is here.
	if err := n.write("postgresql.conf", b.String()); err != nil {
		return err
	}
	hba := append(slices.Clone(n.c.opts.HBA),
		"local all         all               scram-sha-256",
		"local replication all               scram-sha-256",
		"host  all         all 127.0.0.1/32  scram-sha-256",
		"host  replication all 127.0.0.1/32  scram-sha-256",
	)
	return n.write("pg_hba.conf", strings.Join(hba, "\n")+"\n")
}

// quoteSetting quotes a value for a configuration file, where, unlike in SQL,
// backslashes escape.
func quoteSetting(v string) string { return quoteLiteral(strings.ReplaceAll(v, `\`, `\\`)) }

// write writes a file of the data directory.
func (n *Node) write(name, text string) error {
	path := filepath.Join(n.data, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return n.c.account.own(path)
}
