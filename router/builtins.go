package router

import "strings"

// What the planner knows about functions of pg_catalog beyond their declared volatility. A name stands for all of its
// overloads with the volatility that the list is for; overloads that don't fit are named in the comments.

// stableCacheable are the stable functions whose result depends on nothing but arguments, tables of the statement,
// settings that are in the cache key, and catalogs whose every change invalidates all answers. The value says on
// what.
var stableCacheable = names(map[string]string{
	// TimeZone decides between timestamptz and everything without a zone. Not here: timetz(time) and timezone(text,
	// timetz), which take today's offset (date.c: time_timetz, timetz_zone), and so read the clock.
	"TimeZone": `date timestamp timestamptz time date_part date_trunc extract generate_series make_timestamptz overlaps
		date_add date_subtract in_range interval_pl_timestamptz timestamptz_pl_interval timestamptz_mi_interval
		date_cmp_timestamptz date_eq_timestamptz date_ge_timestamptz date_gt_timestamptz date_le_timestamptz date_lt_timestamptz
		date_ne_timestamptz timestamptz_cmp_date timestamptz_eq_date timestamptz_ge_date timestamptz_gt_date timestamptz_le_date
		timestamptz_lt_date timestamptz_ne_date timestamp_cmp_timestamptz timestamp_eq_timestamptz timestamp_ge_timestamptz
		timestamp_gt_timestamptz timestamp_le_timestamptz timestamp_lt_timestamptz timestamp_ne_timestamptz
		timestamptz_cmp_timestamp timestamptz_eq_timestamp timestamptz_ge_timestamp timestamptz_gt_timestamp
		timestamptz_le_timestamp timestamptz_lt_timestamp timestamptz_ne_timestamp`,
	// lc_time, lc_numeric, lc_monetary, TimeZone. Fields that the input doesn't have get fixed values, not today's.
	"lc_* settings": `to_char to_date to_number to_timestamp money numeric`,
	// The output functions of the arguments' types, which depend on DateStyle, IntervalStyle, TimeZone,
	// extra_float_digits, bytea_output and lc_monetary. The types are judged where their columns are read.
	"output functions": `concat concat_ws format textanycat anytextcat quote_literal quote_nullable array_to_string`,
	"output functions and casts to json": `to_json to_jsonb row_to_json array_to_json json_agg jsonb_agg json_object_agg
		jsonb_object_agg json_build_object json_build_array jsonb_build_object jsonb_build_array
		json_agg_strict jsonb_agg_strict json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict
		jsonb_object_agg_strict jsonb_object_agg_unique jsonb_object_agg_unique_strict`,
	// default_text_search_config, and the text search catalogs.
	"text search configuration": `to_tsvector to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery json_to_tsvector
		jsonb_to_tsvector ts_headline ts_match_tq ts_match_tt`,
	"pg_enum":       `enum_first enum_last enum_range`,
	"pg_conversion": `convert convert_from convert_to length`,
	"xmloption":     `xml xml_is_well_formed`,
	"the database, role and search path (key)": `current_database current_user session_user getpgusername current_schema`,
	// Names are looked up in the search path, and in catalogs whose every change invalidates all answers.
	"the catalog": `pg_typeof format_type regclass to_regclass to_regtype to_regproc to_regprocedure to_regoper to_regoperator to_regnamespace to_regrole
		to_regcollation pg_has_role has_table_privilege has_column_privilege has_any_column_privilege has_schema_privilege`,
	// Judged by the type that they make: see analysis.populates.
	"the type of the result": `json_populate_record json_populate_recordset json_to_record json_to_recordset
		jsonb_populate_record jsonb_populate_recordset jsonb_to_record jsonb_to_recordset`,
})

// stableOnReplica are stable functions whose result can't be cached, but which a replica answers as well as the primary.
var stableOnReplica = names(map[string]string{
	// Comparing a time with and one without zone in jsonpath takes today's offset (jsonpath_exec.c: castTimeToTimeTz).
	"reads the clock": `now transaction_timestamp statement_timestamp age timetz timezone jsonb_path_exists_tz
		jsonb_path_match_tz jsonb_path_query_array_tz jsonb_path_query_first_tz jsonb_path_query_tz`,
	ownSchemas:              `current_schemas pg_my_temp_schema pg_is_other_temp_schema`,
	"depends on the server": `version`,
	// What psql's \d and the introspection of object-relational mappers ask.
	"depends on the catalog": `pg_get_expr pg_get_indexdef pg_get_constraintdef pg_get_viewdef pg_get_ruledef pg_get_triggerdef pg_get_functiondef
		pg_get_function_arguments pg_get_function_identity_arguments pg_get_function_result pg_get_function_arg_default pg_get_function_sqlbody
		pg_get_userbyid pg_get_partkeydef pg_get_partition_constraintdef pg_get_statisticsobjdef pg_get_statisticsobjdef_columns
		pg_get_statisticsobjdef_expressions pg_get_serial_sequence pg_get_keywords pg_get_catalog_foreign_keys pg_get_publication_tables
		pg_table_is_visible pg_type_is_visible pg_function_is_visible pg_operator_is_visible pg_opclass_is_visible pg_opfamily_is_visible
		pg_conversion_is_visible pg_ts_parser_is_visible pg_ts_dict_is_visible pg_ts_template_is_visible pg_ts_config_is_visible
		pg_collation_is_visible pg_statistics_obj_is_visible obj_description col_description shobj_description pg_encoding_to_char
		pg_char_to_encoding pg_describe_object pg_identify_object pg_identify_object_as_address pg_get_object_address
		pg_relation_is_updatable pg_column_is_updatable pg_relation_is_publishable pg_index_column_has_property pg_index_has_property
		pg_indexam_has_property pg_options_to_table aclexplode row_security_active has_database_privilege has_foreign_data_wrapper_privilege
		has_function_privilege has_language_privilege has_parameter_privilege has_sequence_privilege has_server_privilege
		has_tablespace_privilege has_type_privilege`,
})

const ownSchemas = "depends on the session's schemas"

// serverWide tells whether a function of which the planner knows no more than that it depends on the server tells everybody
// the same: what is measured and counted there, not what is particular to a session or transaction.
func serverWide(name string) bool {
	if _, ok := sizes[name]; ok {
		return true
	}
	return strings.HasPrefix(name, "pg_stat_get_") && !strings.HasPrefix(name, "pg_stat_get_xact_") && name != "pg_stat_get_snapshot_timestamp" ||
		strings.HasPrefix(name, "pg_ls_")
}

var sizes = names(map[string]string{
	"": `pg_database_size pg_tablespace_size pg_relation_size pg_table_size pg_indexes_size pg_total_relation_size pg_postmaster_start_time
		pg_conf_load_time pg_lock_status pg_stat_file`,
})

// writingStable are functions that are called stable and yet do more than read: they assign a transaction ID.
var writingStable = names(map[string]string{
	"assigns a transaction ID": `txid_current pg_current_xact_id`,
})

// immutableUncacheable are functions that are called immutable and yet look at the state of the server.
var immutableUncacheable = names(map[string]string{
	"depends on the catalog":  `pg_partition_root`,
	"depends on the timeline": `pg_walfile_name pg_walfile_name_offset pg_split_walfile_name`,
})

// volatileReads are the volatile functions that write nothing. They are reads, answered by the primary.
var volatileReads = names(map[string]string{
	"is volatile":                        `random random_normal gen_random_uuid uuidv4 uuidv7 array_shuffle array_sample current_query`,
	"is volatile and reads the clock":    `clock_timestamp timeofday pg_sleep pg_sleep_for pg_sleep_until`,
	"depends on the session's sequences": `currval lastval`,
	"depends on the server's state": `pg_is_in_recovery pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp
		pg_current_wal_lsn pg_current_wal_insert_lsn pg_current_wal_flush_lsn pg_is_wal_replay_paused
		pg_get_wal_replay_pause_state pg_database_size pg_tablespace_size pg_relation_size pg_table_size pg_indexes_size
		pg_total_relation_size pg_lock_status pg_blocking_pids pg_safe_snapshot_blocking_pids
		pg_isolation_test_session_is_blocked pg_prepared_xact pg_sequence_last_value pg_xact_status
		txid_status pg_xact_commit_timestamp pg_xact_commit_timestamp_origin pg_last_committed_xact pg_get_multixact_members
		pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system pg_hba_file_rules pg_ident_file_mappings
		pg_show_all_file_settings pg_get_backend_memory_contexts pg_get_shmem_allocations pg_get_wal_resource_managers
		pg_jit_available pg_notification_queue_usage pg_current_logfile pg_stat_have_stats pg_stat_get_recovery_prefetch
		pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit pg_stat_get_xact_function_calls
		pg_stat_get_xact_function_self_time pg_stat_get_xact_function_total_time pg_stat_get_xact_numscans
		pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched pg_stat_get_xact_tuples_hot_updated
		pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_returned pg_stat_get_xact_tuples_updated
		pg_stat_get_xact_tuples_newpage_updated pg_stat_get_io pg_get_wait_events
		pg_replication_origin_session_is_setup pg_replication_origin_session_progress
		pg_replication_origin_progress pg_show_replication_origin_status
		pg_collation_actual_version pg_database_collation_actual_version amvalidate
		pg_ls_dir pg_ls_logdir pg_ls_waldir pg_ls_tmpdir pg_ls_archive_statusdir pg_ls_logicalmapdir pg_ls_logicalsnapdir
		pg_ls_replslotdir pg_read_file pg_read_binary_file pg_stat_file`,
	"reads a large object": `lo_get`,
	"takes a lock": `pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared
		pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared`,
	releasesLock:                  `pg_advisory_unlock pg_advisory_unlock_shared pg_advisory_unlock_all`,
	"changes the session's state": `set_config setseed pg_stat_clear_snapshot`,
})

const releasesLock = "releases a lock"

// volatileOnReplica are volatile functions that write nothing and read nothing but catalogs.
var volatileOnReplica = names(map[string]string{
	"depends on the catalog": `pg_partition_tree pg_partition_ancestors`,
})

// nodeViews are the views of pg_catalog that show more than what is in the catalogs, and so the same on every server.
// Those of the cumulative statistics are known by their names.
var nodeViews = names(map[string]string{
	"": `pg_aios pg_available_extension_versions pg_available_extensions pg_backend_memory_contexts pg_config pg_cursors pg_dsm_registry_allocations
		pg_file_settings pg_hba_file_rules pg_ident_file_mappings pg_locks pg_prepared_statements pg_prepared_xacts pg_replication_origin_status
		pg_replication_slots pg_sequences pg_settings pg_shmem_allocations pg_shmem_allocations_numa pg_wait_events`,
})

// sessionViews are those of nodeViews that show what is particular to a session.
var sessionViews = names(map[string]string{"": `pg_cursors pg_prepared_statements pg_backend_memory_contexts`})

// binding are the functions of the server that leave state on the connection beyond the transaction.
var binding = names(map[string]string{
	"advisory lock":      `pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared`,
	"set_config()":       `set_config`,
	"setseed()":          `setseed`,
	"replication origin": `pg_replication_origin_session_setup pg_replication_origin_session_reset`,
	"backup":             `pg_backup_start pg_start_backup`,
	"replication slot":   `pg_create_physical_replication_slot pg_create_logical_replication_slot pg_copy_physical_replication_slot pg_copy_logical_replication_slot`,
	"binary upgrade":     `binary_upgrade_set_next_pg_type_oid`,
})

// runSQL are functions that run queries, given as text or by the name of a table or view, which can call anything.
// Not all of them are called volatile.
var runSQL = names(map[string]string{
	"runs SQL": `query_to_xml query_to_xml_and_xmlschema query_to_xmlschema cursor_to_xml cursor_to_xmlschema table_to_xml
		table_to_xml_and_xmlschema table_to_xmlschema schema_to_xml schema_to_xml_and_xmlschema schema_to_xmlschema
		database_to_xml database_to_xml_and_xmlschema database_to_xmlschema ts_stat ts_rewrite`,
})

// trustedExtensions are extensions of the Postgres distribution, and a few widely used ones, whose C functions that
// are declared immutable are so: they compute from their arguments. Left out are those with a state or with functions
// that read tables in spite of their declaration (isn: weak mode; PostGIS: spatial_ref_sys; dict_*, unaccent:
// dictionaries from files). The value is the name of the library.
var trustedExtensions = map[string]string{
	"bloom": "bloom", "btree_gin": "btree_gin", "btree_gist": "btree_gist", "citext": "citext", "cube": "cube",
	"earthdistance": "earthdistance", "fuzzystrmatch": "fuzzystrmatch", "hstore": "hstore", "intarray": "_int", "ip4r": "ip4r",
	"ltree": "ltree", "pg_trgm": "pg_trgm", "pgcrypto": "pgcrypto", "seg": "seg", "uuid-ossp": "uuid-ossp", "vector": "vector",
}

// extensionStable are functions of trusted extensions, and of others, that are declared stable since they depend on settings
// (which are in the key), or on a text search dictionary.
var extensionStable = map[string]string{
	"similarity_op": "pg_trgm", "word_similarity_op": "pg_trgm", "word_similarity_commutator_op": "pg_trgm", "show_limit": "pg_trgm",
	"strict_word_similarity_op": "pg_trgm", "strict_word_similarity_commutator_op": "pg_trgm", "unaccent": "unaccent",
}

// extensionReads are volatile C functions of extensions that write nothing and leave nothing behind.
var extensionReads = names(map[string]string{
	"uuid-ossp":          `uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4`,
	"pgcrypto":           `gen_random_bytes gen_random_uuid gen_salt pgp_sym_encrypt pgp_sym_encrypt_bytea pgp_pub_encrypt pgp_pub_encrypt_bytea`,
	"pg_stat_statements": `pg_stat_statements pg_stat_statements_info`,
	"pg_buffercache":     `pg_buffercache_pages pg_buffercache_summary pg_buffercache_usage_counts`,
	"tablefunc":          `normal_rand`,
})

// extensionTriggers are trigger functions in C that leave nothing behind on the connection.
var extensionTriggers = names(map[string]string{
	"moddatetime": `moddatetime`, "insert_username": `insert_username`, "refint": `check_primary_key check_foreign_key`,
	"tcn": `triggered_change_notification`, "lo": `lo_manage`, "autoinc": `autoinc`,
})

// names turns lists of names per reason into a map from name to reason.
func names(lists map[string]string) map[string]string {
	m := map[string]string{}
	for reason, list := range lists {
		for name := range fieldsOf(list) {
			m[name] = reason
		}
	}
	return m
}
