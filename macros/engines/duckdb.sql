{% macro duckdb__headrace_warehouse_types() -%}
    {{ return({}) }}
{%- endmacro %}

{% macro duckdb__headrace_utc_day(column) -%}
    {#- `at time zone` asks a calendar for each row, which takes 15 times as long. -#}
    cast(make_timestamp(epoch_us({{ column }})) as date)
{%- endmacro %}

{% macro duckdb__headrace_local_day(column) -%}
    cast({{ column }} at time zone '{{ var("reporting_timezone") }}' as date)
{%- endmacro %}

{% macro duckdb__headrace_period_start(column, period) -%}
    {#- Weeks begin on Monday. -#}
    cast({{ dbt.date_trunc(period, column) }} as date)
{%- endmacro %}

{# Not by the clock of the session's zone, which may be put forward between the two. -#}
{% macro duckdb__headrace_elapsed(start, end, unit) -%}
    date_diff('{{ unit }}', make_timestamp(epoch_us({{ start }})), make_timestamp(epoch_us({{ end }})))
{%- endmacro %}

{# DuckDB 2.0 takes its estimate of rows for their number: where it expects none, `sum(views) > 0` in a view is never true.
   Of doubles, which hold each count exactly, it foretells no sum. -#}
{% macro duckdb__headrace_total(column) -%}
    cast(sum(cast({{ column }} as double)) as bigint)
{%- endmacro %}

{% macro duckdb__headrace_parse_json(text) -%}
    cast({{ text }} as json)
{%- endmacro %}

{% macro duckdb__headrace_try_parse_json(text) -%}
    try_cast({{ text }} as json)
{%- endmacro %}

{% macro duckdb__headrace_json_text(column, path) -%}
    {#- json_value is null for an object or array, whose text each warehouse would spell in a way of its own. -#}
    json_extract_string(json_value({{ column }}, '${{ json_path(path) }}'), '$')
{%- endmacro %}

{% macro duckdb__headrace_json_object(column, path) -%}
    {#- A JSON null is no value, like everywhere else. -#}
    nullif(json_extract({{ column }}, '${{ json_path(path) }}'), cast('null' as json))
{%- endmacro %}

{% macro duckdb__headrace_json_texts(column, paths) -%}
    {#- DuckDB reads the text of the JSON anew for each call: once for 40 paths is 8 times as quick as 40 times. -#}
    json_value({{ column }}, [
        {%- for path in paths %}
        '${{ json_path(path) }}'{{ ',' if not loop.last }}
        {%- endfor %}
    ])
{%- endmacro %}

{% macro duckdb__headrace_json_texts_item(texts, paths, path) -%}
    json_extract_string({{ texts }}[{{ paths.index(path) + 1 }}], '$')
{%- endmacro %}

{% macro duckdb__headrace_json_items(column) -%}
    cross join unnest(json_extract_string({{ column }}, '$[*]')) as items (item)
{%- endmacro %}

{% macro duckdb__headrace_json_item() -%}
    items.item
{%- endmacro %}

{% macro duckdb__headrace_try_cast(text, data_type) -%}
    try_cast({{ text }} as {{ warehouse_type(data_type) }})
{%- endmacro %}

{% macro duckdb__headrace_rounded(text) -%}
    try_cast({{ text }} as bigint)
{%- endmacro %}

{% macro duckdb__headrace_matches(text, pattern) -%}
    regexp_full_match({{ text }}, '{{ pattern }}')
{%- endmacro %}

{% macro duckdb__headrace_regexp_replace_all(text, pattern, by) -%}
    regexp_replace({{ text }}, '{{ pattern }}', '{{ by }}', 'g')
{%- endmacro %}

{% macro duckdb__headrace_time_without_offset(text) -%}
    try_cast({{ text }} as timestamp) at time zone 'UTC'
{%- endmacro %}

{% macro duckdb__headrace_time_with_offset(text) -%}
    try_cast({{ text }} as timestamptz)
{%- endmacro %}

{% macro duckdb__headrace_percentile(column, fraction) -%}
    percentile_cont({{ fraction }}) within group (order by {{ column }})
{%- endmacro %}

{% macro duckdb__headrace_rows_ordered_by(column) -%}
    order by {{ column }}
{%- endmacro %}

{% macro duckdb__headrace_batch_rows(alias, relation, batch_key) -%}
    {%- set batch = ref('event_batch') -%}
    {%- set found = load_relation(relation) if execute and not batch.is_cte -%}
    {%- if not found or found.is_view -%}
        {{ default__headrace_batch_rows(alias, relation, batch_key) }}
    {%- else -%}
        {{ alias }}.rowid in (
            select found.rowid
            from {{ relation }} as found
            inner join {{ batch }} as batch_of_rows on found.event_id = batch_of_rows.{{ batch_key }}
            where {{ batch_days('found.event_time') | indent(8) }}
        )
    {%- endif -%}
{%- endmacro %}

{% macro duckdb__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.duckdb__get_merge_sql(
        target, source, unique_key, dest_columns, headrace.with_literal_days(incremental_predicates)
    ) -}}
{%- endmacro %}

{# dbt's unit tests bring JSON and times as text, by safe_cast. -#}
{% macro duckdb__safe_cast(field, type) -%}
    {{ utc_or_cast(field, type) }}
{%- endmacro %}

{# Whoever has a contract has its columns: dbt would ask for them twice, which is a quarter of a first build. -#}
{% macro duckdb__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not headrace.leaves_views() -%}
        {%- if not model.config.contract.enforced -%}
            {{- dbt.default__persist_docs(relation, model, for_relation, for_columns) -}}
        {%- else -%}
            {%- set comments -%}
                {%- if for_relation and config.persist_relation_docs() and model.description -%}
                    {{ dbt.duckdb__alter_relation_comment(relation, model.description) }}
                {%- endif -%}
                {%- for column in model.columns.values() if for_columns and config.persist_column_docs() %}
                    comment on column {{ relation }}.{{ adapter.quote(column.name) if column.quote else column.name }}
                    is {{ dbt.duckdb_escape_comment(column.description) }};
                {%- endfor -%}
            {%- endset -%}
            {%- if comments | trim -%}
                {%- do run_query(comments) -%}
            {%- endif -%}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{% macro duckdb__get_columns_in_relation(relation) -%}
    {{ return(headrace.declared_columns(relation) or dbt.duckdb__get_columns_in_relation(relation)) }}
{%- endmacro %}
