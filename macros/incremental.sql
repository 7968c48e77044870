{% macro warehouse_type(data_type) -%}
    {{ return(headrace.warehouse_types().get(data_type, data_type)) }}
{%- endmacro %}


{% macro warehouse_types() -%}
    {{ return(adapter.dispatch('headrace_warehouse_types', 'headrace')()) }}
{%- endmacro %}


{% macro in_warehouse_types(columns) -%}
    {%- set typed = {} -%}
    {%- for name, column in columns.items() -%}
        {%- do typed.update({name: dict(column, data_type=headrace.warehouse_type(column.data_type))}) -%}
    {%- endfor -%}
    {{ return(typed) }}
{%- endmacro %}

{% macro default__get_empty_schema_sql(columns) -%}
    {{ return(dbt.default__get_empty_schema_sql(headrace.in_warehouse_types(columns))) }}
{%- endmacro %}

{% macro default__get_table_columns_and_constraints() -%}
    (
        {{ adapter.render_raw_columns_constraints(raw_columns=headrace.in_warehouse_types(model['columns'])) | join(',\n') }}
    )
{%- endmacro %}


{% macro require_dispatch() -%}
    {%- if adapter.dispatch('get_empty_schema_sql', 'dbt').macro.package_name == 'dbt' -%}
        {%- do exceptions.raise_compiler_error(
            'headrace needs this line in dbt_project.yml, as dbt finds its way to merge by it alone: '
            ~ 'dispatch: [{macro_namespace: dbt, search_order: [' ~ project_name ~ ', headrace, dbt]}]'
        ) -%}
    {%- endif -%}
{%- endmacro %}


{% macro type_timestamptz() -%}
    {{ return(warehouse_type('timestamptz')) }}
{%- endmacro %}


{% macro as_declared(column, landed) -%}
    {{ return(adapter.dispatch('headrace_as_declared', 'headrace')(column, landed)) }}
{%- endmacro %}


{% macro timestamptz(text) -%}
    cast('{{ text }}+00:00' as {{ type_timestamptz() }})
{%- endmacro %}


{% macro now() -%}
    {{ return(adapter.dispatch('headrace_now', 'headrace')()) }}
{%- endmacro %}


{% macro utc_day(column) -%}
    {{ return(adapter.dispatch('headrace_utc_day', 'headrace')(column)) }}
{%- endmacro %}


{% macro local_day(column) -%}
    {%- if var('reporting_timezone') == 'UTC' -%}
        {{ return(headrace.utc_day(column)) }}
    {%- endif -%}
    {{ return(adapter.dispatch('headrace_local_day', 'headrace')(column)) }}
{%- endmacro %}


{% macro period_start(column, period) -%}
    {{ return(adapter.dispatch('headrace_period_start', 'headrace')(column, period)) }}
{%- endmacro %}


{% macro elapsed(start, end, unit) -%}
    {{ return(adapter.dispatch('headrace_elapsed', 'headrace')(start, end, unit)) }}
{%- endmacro %}


{% macro total(column) -%}
    {{ return(adapter.dispatch('headrace_total', 'headrace')(column)) }}
{%- endmacro %}


{% macro percentile(column, fraction) -%}
    {#- Of halves: the difference of two doubles may be more than a double holds. -#}
    2 * ({{ adapter.dispatch('headrace_percentile', 'headrace')(column ~ ' / 2', fraction) }})
{%- endmacro %}


{% macro rows_ordered_by(column) -%}
    {{ return(adapter.dispatch('headrace_rows_ordered_by', 'headrace')(column)) }}
{%- endmacro %}


{% macro layout(day, filter_by, join_by, data_type='timestamp') -%}
    {{ return(adapter.dispatch('headrace_layout', 'headrace')(day, filter_by, join_by, data_type)) }}
{%- endmacro %}


{% macro managed_events_table() -%}
    {{ return(adapter.dispatch('headrace_managed_events_table', 'headrace')()) }}
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


{% macro short_hash_of(columns) -%}
    substr({{ hash_of(columns) }}, 1, 12)
{%- endmacro %}


{% macro day_ranges(column, spans) -%}
    {{ return(literal_days(column, day_spans(spans) if execute else [])) }}
{%- endmacro %}


{% macro day_spans(spans) -%}
    {#- Asked once in a run of dbt, whose nodes have nothing in common but the graph: who asks comes after what it asks. -#}
    {%- set known = graph.setdefault('headrace_day_spans_' ~ invocation_id, {}) -%}
    {%- if spans not in known -%}
        {%- do known.update({spans: run_query(spans ~ '\norder by 1, 2').rows}) -%}
    {%- endif -%}
    {{ return(known[spans]) }}
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


{% macro in_touched_days(column) -%}
    {{ return(in_touched(column, spans_of_touched('day'))) }}
{%- endmacro %}


{% macro in_touched_sessions(column) -%}
    {{ return(in_touched(column, spans_of_touched('full_session_id'))) }}
{%- endmacro %}


{% macro in_touched(column, spans) -%}
    {%- set touched = ref('touched') -%}
    {%- if not execute or touched.is_cte or load_relation(touched) is none -%}
        1 = 1
    {%- else -%}
        {{ day_ranges(column, spans) }}
    {%- endif -%}
{%- endmacro %}


{% macro in_touched_dates(column) -%}
    {%- set touched = ref('touched') -%}
    {%- if not execute or touched.is_cte or load_relation(touched) is none -%}
        1 = 1
    {%- else -%}
        {%- set days = day_spans('select distinct day as first_day, day as last_day from ' ~ touched ~ ' where day is not null') -%}
        {%- for first_day, _ in days %}
            {{- column ~ ' in (' if loop.first -}}
            cast('{{ first_day }}' as date)
            {{- ', ' if not loop.last else ')' -}}
        {%- else -%}
            1 = 0
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}


{% macro spans_of_touched(key) -%}
    select distinct
        touched.first_day,
        touched.last_day
    from {{ ref('touched') }} as touched
    where touched.{{ key }} is not null
    {#- An event of an unknown time has no day. #}
    union all
    select
        cast(null as date) as first_day,
        cast(null as date) as last_day
{%- endmacro %}


{% macro batch_rows(alias, relation, batch_key) -%}
    {{ return(adapter.dispatch('headrace_batch_rows', 'headrace')(alias, relation, batch_key)) }}
{%- endmacro %}


{% macro days_in(column, relation) -%}
    select distinct
        {{ utc_day(column) }} as first_day,
        {{ utc_day(column) }} as last_day
    from {{ relation }} as relation_of_days
{%- endmacro %}


{% macro with_literal_days(predicates) -%}
    {%- set meta = config.get('meta') or {} -%}
    {%- set days = [] -%}
    {%- if meta.prune_by_batch_day -%}
        {%- do days.append(batch_days('DBT_INTERNAL_DEST.' ~ meta.prune_by_batch_day)) -%}
    {%- elif meta.prune_by_touched_day -%}
        {%- do days.append(in_touched_days('DBT_INTERNAL_DEST.' ~ meta.prune_by_touched_day)) -%}
    {%- elif meta.prune_by_session_day -%}
        {%- do days.append(in_touched_sessions('DBT_INTERNAL_DEST.' ~ meta.prune_by_session_day)) -%}
    {%- elif meta.prune_by_date -%}
        {%- do days.append(in_touched_dates('DBT_INTERNAL_DEST.' ~ meta.prune_by_date)) -%}
    {%- endif -%}
    {{ return((predicates or []) + days) }}
{%- endmacro %}


{% macro delete_stale(key, touched, within='1 = 1', day=none) -%}
    {%- set stale -%}
    from {{ this }}
    where {{ key }} in (select {{ key }} from {{ touched }})
        and _invocation_id <> '{{ invocation_id }}'
        and {{ within }}
    {%- endset -%}
    {{ return(delete_rows(stale, day)) }}
{%- endmacro %}


{% macro delete_rows(rows, day=none) -%}
    {{ return(adapter.dispatch('headrace_delete_rows', 'headrace')(rows, day)) }}
{%- endmacro %}
