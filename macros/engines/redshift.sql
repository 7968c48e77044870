{% macro redshift__headrace_warehouse_types() -%}
    {#- In a table, varchar alone would be 256 bytes. -#}
    {{ return({'varchar': 'varchar(65535)', 'double': 'double precision', 'json': 'super'}) }}
{%- endmacro %}

{% macro redshift__headrace_utc_day(column) -%}
    {#- Never by the session's time zone: the days become UTC literals. -#}
    cast({{ column }} at time zone 'UTC' as date)
{%- endmacro %}

{% macro redshift__headrace_local_day(column) -%}
    cast({{ column }} at time zone '{{ var("reporting_timezone") }}' as date)
{%- endmacro %}

{% macro redshift__headrace_period_start(column, period) -%}
    {#- Weeks begin on Monday. -#}
    cast({{ dbt.date_trunc(period, column) }} as date)
{%- endmacro %}

{% macro redshift__headrace_elapsed(start, end, unit) -%}
    {#- datediff takes no timestamptz there. -#}
    {{ return(dbt.datediff('(' ~ start ~ " at time zone 'UTC')", '(' ~ end ~ " at time zone 'UTC')", unit) | trim) }}
{%- endmacro %}

{% macro redshift__headrace_parse_json(text) -%}
    json_parse({{ text }})
{%- endmacro %}

{% macro redshift__headrace_try_parse_json(text) -%}
    case when can_json_parse({{ text }}) then json_parse({{ text }}) end
{%- endmacro %}

{% macro redshift__headrace_json_text(column, path) -%}
    cast({{ column }}{{ json_path(path) }} as {{ warehouse_type('varchar') }})
{%- endmacro %}

{% macro redshift__headrace_json_object(column, path) -%}
    {%- set value = column ~ json_path(path) -%}
    case when json_typeof({{ value }}) <> 'null' then {{ value }} end
{%- endmacro %}

{# dbt would take PostgreSQL's before the default. -#}
{% macro redshift__headrace_json_texts(column, paths) -%}
    {{ default__headrace_json_texts(column, paths) }}
{%- endmacro %}

{% macro redshift__headrace_json_texts_item(texts, paths, path) -%}
    {{ default__headrace_json_texts_item(texts, paths, path) }}
{%- endmacro %}

{# What is no array gives a row of its own there. -#}
{% macro redshift__headrace_json_items(column) -%}
    , {{ column }} as item
{%- endmacro %}

{% macro redshift__headrace_json_item() -%}
    cast(item as {{ warehouse_type('varchar') }})
{%- endmacro %}

{% macro redshift__headrace_try_cast(text, data_type) -%}
    try_cast({{ text }} as {{ warehouse_type(data_type) }})
{%- endmacro %}

{% macro redshift__headrace_rounded(text) -%}
    {%- set number = 'try_cast(' ~ text ~ ' as decimal(38, 9))' -%}
    case
        when {{ number }} > -9223372036854775808.5 and {{ number }} < 9223372036854775807.5
            then cast(round({{ number }}) as bigint)
    end
{%- endmacro %}

{% macro redshift__headrace_matches(text, pattern) -%}
    {{ text }} ~ '^({{ pattern }})$'
{%- endmacro %}

{% macro redshift__headrace_regexp_replace_all(text, pattern, by) -%}
    regexp_replace({{ text }}, '{{ pattern }}', '{{ by }}')
{%- endmacro %}

{% macro redshift__headrace_time_without_offset(text) -%}
    try_cast({{ text }} as timestamp) at time zone 'UTC'
{%- endmacro %}

{% macro redshift__headrace_time_with_offset(text) -%}
    try_cast({{ text }} as timestamptz)
{%- endmacro %}

{% macro redshift__headrace_percentile(column, fraction) -%}
    percentile_cont({{ fraction }}) within group (order by {{ column }})
{%- endmacro %}

{% macro redshift__headrace_layout(day, filter_by, join_by, data_type) -%}
    {{ return({'sort': day, 'dist': join_by}) }}
{%- endmacro %}

{% macro redshift__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.redshift__get_merge_sql(
        target, source, unique_key, dest_columns, headrace.with_literal_days(incremental_predicates)
    ) -}}
{%- endmacro %}

{% macro redshift__safe_cast(field, type) -%}
    {{ parse_json(field) if type | lower == 'super' else utc_or_cast(field, type) }}
{%- endmacro %}

{% macro redshift__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not headrace.leaves_views() -%}
        {{- dbt.redshift__persist_docs(relation, model, for_relation, for_columns) -}}
    {%- endif -%}
{%- endmacro %}

{% macro redshift__get_columns_in_relation(relation) -%}
    {{ return(headrace.declared_columns(relation) or dbt.redshift__get_columns_in_relation(relation)) }}
{%- endmacro %}
