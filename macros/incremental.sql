{# Every difference between the warehouses' merges and times is in this file. #}

{% macro warehouse_type(data_type) -%}
    {{ return(warehouse_types().get(data_type, data_type)) }}
{%- endmacro %}


{% macro warehouse_types() -%}
    {{ return(adapter.dispatch('warehouse_types', 'headrace')()) }}
{%- endmacro %}

{% macro default__warehouse_types() -%}
    {{ return({}) }}
{%- endmacro %}

{% macro bigquery__warehouse_types() -%}
    {{ return({
        'varchar': 'string', 'bigint': 'int64', 'double': 'float64', 'boolean': 'bool', 'timestamptz': 'timestamp'
    }) }}
{%- endmacro %}

{% macro snowflake__warehouse_types() -%}
    {{ return({'bigint': 'number(38, 0)', 'double': 'float', 'timestamptz': 'timestamp_ntz', 'json': 'variant'}) }}
{%- endmacro %}

{% macro redshift__warehouse_types() -%}
    {#- In a table, varchar alone would be 256 bytes. -#}
    {{ return({'varchar': 'varchar(65535)', 'double': 'double precision', 'json': 'super'}) }}
{%- endmacro %}


{% macro in_warehouse_types(columns) -%}
    {%- set typed = {} -%}
    {%- for name, column in columns.items() -%}
        {%- do typed.update({name: dict(column, data_type=warehouse_type(column.data_type))}) -%}
    {%- endfor -%}
    {{ return(typed) }}
{%- endmacro %}

{% macro default__get_empty_schema_sql(columns) -%}
    {{ return(dbt.default__get_empty_schema_sql(in_warehouse_types(columns))) }}
{%- endmacro %}

{% macro default__get_table_columns_and_constraints() -%}
    (
        {{ adapter.render_raw_columns_constraints(raw_columns=in_warehouse_types(model['columns'])) | join(',\n') }}
    )
{%- endmacro %}


{% macro type_timestamptz() -%}
    {{ return(warehouse_type('timestamptz')) }}
{%- endmacro %}


{% macro as_declared(column, landed) -%}
    {{ return(adapter.dispatch('as_declared', 'headrace')(column, landed)) }}
{%- endmacro %}

{% macro default__as_declared(column, landed) -%}
    {{ return(column.name) }}
{%- endmacro %}

{% macro snowflake__as_declared(column, landed) -%}
    {%- if column.data_type == 'timestamptz' and landed.dtype != 'TIMESTAMP_NTZ' -%}
        {{ return("cast(convert_timezone('UTC', " ~ column.name ~ ') as ' ~ type_timestamptz() ~ ')') }}
    {%- endif -%}
    {{ return(column.name) }}
{%- endmacro %}


{% macro timestamptz(text) -%}
    cast('{{ text }}+00:00' as {{ type_timestamptz() }})
{%- endmacro %}


{% macro now() -%}
    {{ return(adapter.dispatch('now', 'headrace')()) }}
{%- endmacro %}

{% macro default__now() -%}
    cast({{ dbt.current_timestamp() }} as {{ type_timestamptz() }})
{%- endmacro %}

{% macro snowflake__now() -%}
    sysdate()
{%- endmacro %}


{% macro utc_day(column) -%}
    {{ return(adapter.dispatch('utc_day', 'headrace')(column)) }}
{%- endmacro %}

{% macro default__utc_day(column) -%}
    {#- Never by the session's time zone: the days become UTC literals. -#}
    cast({{ column }} at time zone 'UTC' as date)
{%- endmacro %}

{% macro duckdb__utc_day(column) -%}
    {#- `at time zone` asks a calendar for each row, which takes 15 times as long. -#}
    cast(make_timestamp(epoch_us({{ column }})) as date)
{%- endmacro %}

{% macro bigquery__utc_day(column) -%}
    date({{ column }}, 'UTC')
{%- endmacro %}

{% macro snowflake__utc_day(column) -%}
    cast({{ column }} as date)
{%- endmacro %}


{% macro local_day(column) -%}
    {%- if var('reporting_timezone') == 'UTC' -%}
        {{ return(utc_day(column)) }}
    {%- endif -%}
    {{ return(adapter.dispatch('local_day', 'headrace')(column)) }}
{%- endmacro %}

{% macro default__local_day(column) -%}
    cast({{ column }} at time zone '{{ var("reporting_timezone") }}' as date)
{%- endmacro %}

{% macro bigquery__local_day(column) -%}
    date({{ column }}, '{{ var("reporting_timezone") }}')
{%- endmacro %}

{% macro snowflake__local_day(column) -%}
    cast(convert_timezone('UTC', '{{ var("reporting_timezone") }}', {{ column }}) as date)
{%- endmacro %}


{% macro period_start(column, period) -%}
    {{ return(adapter.dispatch('period_start', 'headrace')(column, period)) }}
{%- endmacro %}

{% macro default__period_start(column, period) -%}
    {#- Weeks begin on Monday. -#}
    cast({{ dbt.date_trunc(period, column) }} as date)
{%- endmacro %}

{% macro bigquery__period_start(column, period) -%}
    date_trunc({{ column }}, {{ 'isoweek' if period == 'week' else period }})
{%- endmacro %}


{% macro elapsed(start, end, unit) -%}
    {{ return(adapter.dispatch('elapsed', 'headrace')(start, end, unit)) }}
{%- endmacro %}

{% macro default__elapsed(start, end, unit) -%}
    {{ return(dbt.datediff(start, end, unit) | trim) }}
{%- endmacro %}

{% macro redshift__elapsed(start, end, unit) -%}
    {#- datediff takes no timestamptz there. -#}
    {{ return(dbt.datediff('(' ~ start ~ " at time zone 'UTC')", '(' ~ end ~ " at time zone 'UTC')", unit) | trim) }}
{%- endmacro %}


{% macro percentile(column, fraction) -%}
    {{ return(adapter.dispatch('percentile', 'headrace')(column, fraction)) }}
{%- endmacro %}

{% macro default__percentile(column, fraction) -%}
    percentile_cont({{ fraction }}) within group (order by {{ column }})
{%- endmacro %}

{% macro bigquery__percentile(column, fraction) -%}
    {#- percentile_cont is no aggregate there. -#}
    {%- set values = 'array_agg(' ~ column ~ ' ignore nulls order by ' ~ column ~ ')' -%}
    {%- set place = '(' ~ fraction ~ ' * (count(' ~ column ~ ') - 1))' -%}
    {%- set lower = values ~ '[safe_offset(cast(floor(' ~ place ~ ') as int64))]' -%}
    {%- set upper = values ~ '[safe_offset(cast(ceil(' ~ place ~ ') as int64))]' -%}
    {{ lower }} + ({{ place }} - floor({{ place }})) * ({{ upper }} - {{ lower }})
{%- endmacro %}


{% macro rows_ordered_by(column) -%}
    {{ return(adapter.dispatch('rows_ordered_by', 'headrace')(column)) }}
{%- endmacro %}

{% macro default__rows_ordered_by(column) -%}{%- endmacro %}

{% macro duckdb__rows_ordered_by(column) -%}
    order by {{ column }}
{%- endmacro %}


{% macro layout(day, filter_by, join_by) -%}
    {{ return(adapter.dispatch('layout', 'headrace')(day, filter_by, join_by)) }}
{%- endmacro %}

{% macro default__layout(day, filter_by, join_by) -%}
    {{ return({}) }}
{%- endmacro %}

{% macro bigquery__layout(day, filter_by, join_by) -%}
    {{ return({
        'partition_by': {'field': day, 'data_type': 'timestamp', 'granularity': 'day'},
        'cluster_by': [filter_by, join_by],
    }) }}
{%- endmacro %}

{% macro snowflake__layout(day, filter_by, join_by) -%}
    {{ return({'cluster_by': ['cast(' ~ day ~ ' as date)']}) }}
{%- endmacro %}

{% macro redshift__layout(day, filter_by, join_by) -%}
    {{ return({'sort': day, 'dist': join_by}) }}
{%- endmacro %}


{% macro managed_events_table() -%}
    {{ return(adapter.dispatch('managed_events_table', 'headrace')()) }}
{%- endmacro %}

{% macro default__managed_events_table() -%}
    {{ return('events') }}
{%- endmacro %}

{% macro bigquery__managed_events_table() -%}
    {{ return('fullstory_events_' ~ var('fullstory_org_id') | replace('-', '_')) }}
{%- endmacro %}


{% macro differs(one, other) -%}
    (
        {{ one }} <> {{ other }}
        or ({{ one }} is null and {{ other }} is not null)
        or ({{ one }} is not null and {{ other }} is null)
    )
{%- endmacro %}


{% macro hash_of(columns) -%}
    {%- set parts = [] -%}
    {%- for column in columns -%}
        {%- set size = 'cast(' ~ dbt.length(column) ~ ' as ' ~ dbt.type_string() ~ ')' -%}
        {%- do parts.append('coalesce(' ~ dbt.concat([size, "':'", column]) ~ ", '-')") -%}
    {%- endfor -%}
    {{ dbt.hash(dbt.concat(parts)) }}
{%- endmacro %}


{% macro day_ranges(column, spans) -%}
    {{ return(literal_days(column, run_query(spans ~ '\norder by 1, 2').rows if execute else [])) }}
{%- endmacro %}


{% macro literal_days(column, spans) -%}
    {%- set ranges = [] -%}
    {%- for first_day, last_day in spans if first_day is not none -%}
        {%- if ranges and first_day.toordinal() <= ranges[-1][1].toordinal() + 1 -%}
            {%- set last_range = ranges.pop() -%}
            {%- do ranges.append((last_range[0], [last_range[1], last_day] | max)) -%}
        {%- else -%}
            {%- do ranges.append((first_day, last_day)) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if spans | length == 0 -%}
        {{ column }} < {{ timestamptz('0001-01-01 00:00:00') }}
    {%- else -%}
        (
        {%- for first_day, last_day in ranges %}
            {{ column }} between {{ timestamptz(first_day ~ ' 00:00:00') }}
            and {{ timestamptz(last_day ~ ' 23:59:59.999999') }} or
        {%- endfor %}
            {{ column }} is null
        )
    {%- endif -%}
{%- endmacro %}


{% macro batch_days(column) -%}
    {%- set batch = ref('event_batch') -%}
    {%- if not execute or batch.is_cte or load_relation(batch) is none -%}
        1 = 1
    {%- else -%}
        {{ day_ranges(column, days_in('event_time', batch)) }}
    {%- endif -%}
{%- endmacro %}


{% macro batch_rows(alias, relation, batch_key) -%}
    {{ return(adapter.dispatch('batch_rows', 'headrace')(alias, relation, batch_key)) }}
{%- endmacro %}

{% macro default__batch_rows(alias, relation, batch_key) -%}
    {{ batch_days(alias ~ '.event_time') }}
{%- endmacro %}

{% macro duckdb__batch_rows(alias, relation, batch_key) -%}
    {%- set batch = ref('event_batch') -%}
    {%- set found = load_relation(relation) if execute and not batch.is_cte -%}
    {%- if not found or found.is_view -%}
        {{ default__batch_rows(alias, relation, batch_key) }}
    {%- else -%}
        {{ alias }}.rowid in (
            select found.rowid
            from {{ relation }} as found
            inner join {{ batch }} as batch_of_rows on found.event_id = batch_of_rows.{{ batch_key }}
            where {{ batch_days('found.event_time') | indent(8) }}
        )
    {%- endif -%}
{%- endmacro %}


{% macro days_in(column, relation) -%}
    select distinct
        {{ utc_day(column) }} as first_day,
        {{ utc_day(column) }} as last_day
    from {{ relation }} as relation_of_days
{%- endmacro %}


{% macro with_batch_days(predicates) -%}
    {%- set column = (config.get('meta') or {}).get('prune_by_day') -%}
    {{ return((predicates or []) + ([batch_days('DBT_INTERNAL_DEST.' ~ column)] if column else [])) }}
{%- endmacro %}

{% macro duckdb__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.duckdb__get_merge_sql(
        target, source, unique_key, dest_columns, with_batch_days(incremental_predicates)
    ) -}}
{%- endmacro %}

{% macro bigquery__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.default__get_merge_sql(
        target, source, unique_key, dest_columns, with_batch_days(incremental_predicates)
    ) -}}
{%- endmacro %}

{% macro snowflake__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.snowflake__get_merge_sql(
        target, source, unique_key, dest_columns, with_batch_days(incremental_predicates)
    ) -}}
{%- endmacro %}

{% macro redshift__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.redshift__get_merge_sql(
        target, source, unique_key, dest_columns, with_batch_days(incremental_predicates)
    ) -}}
{%- endmacro %}


{% macro delete_stale(key, touched) -%}
    delete from {{ this }}
    where {{ key }} in (select {{ key }} from {{ touched }})
        and _invocation_id <> '{{ invocation_id }}'
{%- endmacro %}
