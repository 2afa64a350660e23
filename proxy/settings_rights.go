package proxy

import "strings"

// isTransactionSetting says whether a setting is one of the transaction's modes, which end with it.
func isTransactionSetting(name string) bool {
	return strings.HasPrefix(name, "transaction_") && name != "transaction_timeout"
}

// needsRights says whether setting a setting may need rights that the login role hasn't got. Only ordinary ones are known not to.
func needsRights(name string) bool {
	if prefix, _, ok := strings.Cut(name, "."); ok {
		return guardedPrefixes[prefix]
	}
	return guardedSettings[name]
}

// guardedSettings are those of PGC_SUSET in Postgres 14 to 18.
var guardedSettings = func() map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields(`allow_in_place_tablespaces allow_system_table_mods backtrace_functions commit_timestamp_buffers
		compute_query_id deadlock_timeout debug_discard_caches dynamic_library_path extension_control_path ignore_checksum_failure
		jit_provider lc_messages lo_compat_privileges log_duration log_error_verbosity log_executor_stats log_lock_failures
		log_lock_waits log_min_duration_sample log_min_duration_statement log_min_error_statement log_min_messages
		log_parameter_max_length log_parser_stats log_planner_stats log_replication_commands log_statement
		log_statement_sample_rate log_statement_stats log_temp_files log_transaction_sample_rate max_stack_depth
		session_preload_libraries session_replication_role temp_file_limit track_activities track_cost_delay_timing track_counts
		track_functions track_io_timing track_wal_io_timing update_process_title vacuum_truncate wal_compression wal_consistency_checking
		wal_init_zero wal_recycle zero_damaged_pages createrole_self_grant commit_delay event_triggers
		restrict_nonsystem_relation_kind exit_on_error`) {
		m[name] = true
	}
	return m
}()

// guardedPrefixes are extensions with settings for superusers.
var guardedPrefixes = map[string]bool{"auto_explain": true, "pg_stat_statements": true, "plpgsql": true, "pgaudit": true, "set_user": true,
	"pg_hint_plan": true, "plperl": true, "pltcl": true, "pg_prewarm": true}
