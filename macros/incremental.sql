{# Every difference between the warehouses' merges and times is in this file. #}

{% macro type_timestamptz() -%}
    {{ return(adapter.dispatch('type_timestamptz', 'headrace')()) }}
{%- endmacro %}

{% macro default__type_timestamptz() -%}
    timestamptz
{%- endmacro %}


{% macro timestamptz(text) -%}
    cast('{{ text }}+00:00' as {{ type_timestamptz() }})
{%- endmacro %}


{% macro now() -%}
    cast({{ dbt.current_timestamp() }} as {{ type_timestamptz() }})
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


{% macro local_day(column) -%}
    {%- if var('reporting_timezone') == 'UTC' -%}
        {{ return(utc_day(column)) }}
    {%- endif -%}
    {{ return(adapter.dispatch('local_day', 'headrace')(column)) }}
{%- endmacro %}

{% macro default__local_day(column) -%}
    cast({{ column }} at time zone '{{ var("reporting_timezone") }}' as date)
{%- endmacro %}


{% macro period_start(column, period) -%}
    {{ return(adapter.dispatch('period_start', 'headrace')(column, period)) }}
{%- endmacro %}

{% macro default__period_start(column, period) -%}
    {#- Weeks begin on Monday. -#}
    cast({{ dbt.date_trunc(period, column) }} as date)
{%- endmacro %}


{% macro percentile(column, fraction) -%}
    {{ return(adapter.dispatch('percentile', 'headrace')(column, fraction)) }}
{%- endmacro %}

{% macro default__percentile(column, fraction) -%}
    percentile_cont({{ fraction }}) within group (order by {{ column }})
{%- endmacro %}


{% macro rows_ordered_by(column) -%}
    {{ return(adapter.dispatch('rows_ordered_by', 'headrace')(column)) }}
{%- endmacro %}

{% macro default__rows_ordered_by(column) -%}{%- endmacro %}

{% macro duckdb__rows_ordered_by(column) -%}
    order by {{ column }}
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
    {%- set ranges = [] -%}
    {%- set rows = run_query(spans ~ '\norder by 1, 2').rows if execute else [] -%}
    {%- for first_day, last_day in rows if first_day is not none -%}
        {%- if ranges and first_day.toordinal() <= ranges[-1][1].toordinal() + 1 -%}
            {%- set last_range = ranges.pop() -%}
            {%- do ranges.append((last_range[0], [last_range[1], last_day] | max)) -%}
        {%- else -%}
            {%- do ranges.append((first_day, last_day)) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if rows | length == 0 -%}
        1 = 0
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


{% macro duckdb__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.duckdb__get_merge_sql(
        target, source, unique_key, dest_columns, with_merged_days(source, incremental_predicates)
    ) -}}
{%- endmacro %}


{% macro with_merged_days(source, incremental_predicates) -%}
    {%- set column = (config.get('meta') or {}).get('prune_by_day') -%}
    {%- if column is none -%}
        {{ return(incremental_predicates) }}
    {%- endif -%}
    {%- set days = day_ranges('DBT_INTERNAL_DEST.' ~ column, days_in(column, source)) -%}
    {{ return((incremental_predicates or []) + [days]) }}
{%- endmacro %}


{% macro delete_stale(key, touched) -%}
    delete from {{ this }}
    where {{ key }} in (select {{ key }} from {{ touched }})
        and _invocation_id <> '{{ invocation_id }}'
{%- endmacro %}
