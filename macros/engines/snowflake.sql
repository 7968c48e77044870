{% macro snowflake__headrace_warehouse_types() -%}
    {{ return({'bigint': 'number(38, 0)', 'double': 'float', 'timestamptz': 'timestamp_ntz', 'json': 'variant'}) }}
{%- endmacro %}

{% macro snowflake__headrace_as_declared(column, landed) -%}
    {%- if column.data_type == 'timestamptz' and landed.dtype != 'TIMESTAMP_NTZ' -%}
        {{ return("cast(convert_timezone('UTC', " ~ column.name ~ ') as ' ~ type_timestamptz() ~ ')') }}
    {%- endif -%}
    {{ return(column.name) }}
{%- endmacro %}

{% macro snowflake__headrace_now() -%}
    sysdate()
{%- endmacro %}

{% macro snowflake__headrace_utc_day(column) -%}
    cast({{ column }} as date)
{%- endmacro %}

{% macro snowflake__headrace_local_day(column) -%}
    cast(convert_timezone('UTC', '{{ var("reporting_timezone") }}', {{ column }}) as date)
{%- endmacro %}

{% macro snowflake__headrace_period_start(column, period) -%}
    {#- Weeks begin on Monday. -#}
    cast({{ dbt.date_trunc(period, column) }} as date)
{%- endmacro %}

{% macro snowflake__headrace_elapsed(start, end, unit) -%}
    {{ return(dbt.datediff(start, end, unit) | trim) }}
{%- endmacro %}

{% macro snowflake__headrace_parse_json(text) -%}
    {#- 'd': a key that stands twice must not stop the hour. -#}
    parse_json({{ text }}, 'd')
{%- endmacro %}

{% macro snowflake__headrace_try_parse_json(text) -%}
    try_parse_json({{ text }}, 'd')
{%- endmacro %}

{% macro snowflake__headrace_json_text(column, path) -%}
    {%- set value = column ~ ':' ~ json_path(path)[1:] -%}
    case when not is_object({{ value }}) and not is_array({{ value }}) then cast({{ value }} as varchar) end
{%- endmacro %}

{% macro snowflake__headrace_json_object(column, path) -%}
    strip_null_value({{ column }}:{{ json_path(path)[1:] }})
{%- endmacro %}

{% macro snowflake__headrace_json_items(column) -%}
    cross join lateral flatten(input => {{ column }}) as items
{%- endmacro %}

{% macro snowflake__headrace_json_item() -%}
    cast(items.value as {{ warehouse_type('varchar') }})
{%- endmacro %}

{% macro snowflake__headrace_try_cast(text, data_type) -%}
    try_cast({{ text }} as {{ warehouse_type(data_type) }})
{%- endmacro %}

{% macro snowflake__headrace_rounded(text) -%}
    {#- Its bigint holds 38 digits. -#}
    {%- set number = try_cast(text, 'bigint') -%}
    case when {{ number }} between -9223372036854775808 and 9223372036854775807 then {{ number }} end
{%- endmacro %}

{% macro snowflake__headrace_matches(text, pattern) -%}
    regexp_like({{ text }}, '{{ pattern }}')
{%- endmacro %}

{% macro snowflake__headrace_regexp_replace_all(text, pattern, by) -%}
    regexp_replace({{ text }}, '{{ pattern }}', '{{ by }}')
{%- endmacro %}

{% macro snowflake__headrace_time_without_offset(text) -%}
    try_cast({{ text }} as timestamp_ntz)
{%- endmacro %}

{% macro snowflake__headrace_time_with_offset(text) -%}
    cast(convert_timezone('UTC', try_cast({{ text }} as timestamp_tz)) as {{ type_timestamptz() }})
{%- endmacro %}

{% macro snowflake__headrace_percentile(column, fraction) -%}
    percentile_cont({{ fraction }}) within group (order by {{ column }})
{%- endmacro %}

{% macro snowflake__headrace_layout(day, filter_by, join_by, data_type) -%}
    {{ return({'cluster_by': ['cast(' ~ day ~ ' as date)']}) }}
{%- endmacro %}

{% macro snowflake__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.snowflake__get_merge_sql(
        target, source, unique_key, dest_columns, headrace.with_literal_days(incremental_predicates)
    ) -}}
{%- endmacro %}

{% macro snowflake__safe_cast(field, type) -%}
    {{ parse_json(field) if type | lower == 'variant' else dbt.snowflake__safe_cast(field, type) }}
{%- endmacro %}

{% macro snowflake__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not headrace.leaves_views() -%}
        {{- dbt.snowflake__persist_docs(relation, model, for_relation, for_columns) -}}
    {%- endif -%}
{%- endmacro %}

{% macro snowflake__get_columns_in_relation(relation) -%}
    {%- set columns = [] -%}
    {%- for column in headrace.declared_columns(relation) -%}
        {%- do columns.append(api.Column(column.name | upper, column.dtype)) -%}
    {%- endfor -%}
    {{ return(columns or dbt.snowflake__get_columns_in_relation(relation)) }}
{%- endmacro %}
