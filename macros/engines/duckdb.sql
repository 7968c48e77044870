{% macro duckdb__utc_day(column) -%}
    {#- `at time zone` asks a calendar for each row, which takes 15 times as long. -#}
    cast(make_timestamp(epoch_us({{ column }})) as date)
{%- endmacro %}

{# Not by the clock of the session's zone, which may be put forward between the two. -#}
{% macro duckdb__elapsed(start, end, unit) -%}
    date_diff('{{ unit }}', make_timestamp(epoch_us({{ start }})), make_timestamp(epoch_us({{ end }})))
{%- endmacro %}

{% macro duckdb__rows_ordered_by(column) -%}
    order by {{ column }}
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

{% macro duckdb__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.duckdb__get_merge_sql(
        target, source, unique_key, dest_columns, headrace.with_literal_days(incremental_predicates)
    ) -}}
{%- endmacro %}

{# dbt's unit tests bring JSON and times as text, by safe_cast. -#}
{% macro duckdb__safe_cast(field, type) -%}
    {{ utc_or_cast(field, type) }}
{%- endmacro %}

{% macro duckdb__json_texts(column, paths) -%}
    {#- DuckDB reads the text of the JSON anew for each call: once for 40 paths is 8 times as quick as 40 times. -#}
    json_value({{ column }}, [
        {%- for path in paths %}
        '${{ json_path(path) }}'{{ ',' if not loop.last }}
        {%- endfor %}
    ])
{%- endmacro %}

{% macro duckdb__json_texts_item(texts, paths, path) -%}
    json_extract_string({{ texts }}[{{ paths.index(path) + 1 }}], '$')
{%- endmacro %}

{% macro duckdb__matches(text, pattern) -%}
    regexp_full_match({{ text }}, '{{ pattern }}')
{%- endmacro %}

{% macro duckdb__regexp_replace_all(text, pattern, by) -%}
    regexp_replace({{ text }}, '{{ pattern }}', '{{ by }}', 'g')
{%- endmacro %}

{% macro duckdb__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not headrace.leaves_views() -%}
        {{- dbt.default__persist_docs(relation, model, for_relation, for_columns) -}}
    {%- endif -%}
{%- endmacro %}

{% macro duckdb__get_columns_in_relation(relation) -%}
    {{ return(headrace.declared_columns(relation) or dbt.duckdb__get_columns_in_relation(relation)) }}
{%- endmacro %}
