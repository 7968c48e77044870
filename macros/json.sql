{# Every difference between the warehouses' JSON is in this file. #}

{% macro json_path(path) -%}
    {%- for key in path.split('.') -%}."{{ key }}"{%- endfor -%}
{%- endmacro %}


{% macro parse_json(text) -%}
    {{ return(adapter.dispatch('parse_json', 'headrace')(text)) }}
{%- endmacro %}

{% macro default__parse_json(text) -%}
    cast({{ text }} as json)
{%- endmacro %}

{% macro bigquery__parse_json(text) -%}
    {#- A number of more digits than it can hold must not stop the hour. -#}
    parse_json({{ text }}, wide_number_mode => 'round')
{%- endmacro %}

{% macro snowflake__parse_json(text) -%}
    {#- 'd': a key that stands twice must not stop the hour. -#}
    parse_json({{ text }}, 'd')
{%- endmacro %}

{% macro redshift__parse_json(text) -%}
    json_parse({{ text }})
{%- endmacro %}


{# dbt's unit tests bring JSON as text, by safe_cast. -#}
{% macro bigquery__safe_cast(field, type) -%}
    {{ parse_json(field) if type | lower == 'json' and field is string else dbt.bigquery__safe_cast(field, type) }}
{%- endmacro %}

{% macro snowflake__safe_cast(field, type) -%}
    {{ parse_json(field) if type | lower == 'variant' else dbt.snowflake__safe_cast(field, type) }}
{%- endmacro %}

{% macro redshift__safe_cast(field, type) -%}
    {{ parse_json(field) if type | lower == 'super' else dbt.default__safe_cast(field, type) }}
{%- endmacro %}


{% macro given_rows(types, common, rows) -%}
    {%- for row in rows -%}
    select
        {%- for name, data_type in types.items() %}
        {%- set value = row.get(name, common.get(name)) %}
        {%- set literal = 'null' if value is none else dbt.string_literal(dbt.escape_single_quotes(value | string)) %}
        {{ parse_json(literal) if data_type == 'json' and value is not none
            else 'cast(' ~ literal ~ ' as ' ~ warehouse_type(data_type) ~ ')' }} as {{ name }}
        {{- ',' if not loop.last }}
        {%- endfor %}
    {{ 'union all' if not loop.last }}
    {% endfor %}
{%- endmacro %}


{% macro as_json(relation, column) -%}
    {%- set types = {} -%}
    {%- if execute -%}
        {%- for found in adapter.get_columns_in_relation(relation) -%}
            {%- do types.update({found.name | lower: found}) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if column in types and types[column].is_string() -%}
        {{ parse_json(column) }}
    {%- else -%}
        {{ column }}
    {%- endif -%}
{%- endmacro %}


{% macro json_text(column, path) -%}
    {{ return(adapter.dispatch('json_text', 'headrace')(column, path)) }}
{%- endmacro %}

{% macro default__json_text(column, path) -%}
    json_extract_string({{ column }}, '${{ json_path(path) }}')
{%- endmacro %}

{% macro bigquery__json_text(column, path) -%}
    json_value({{ column }}, '${{ json_path(path) }}')
{%- endmacro %}

{% macro snowflake__json_text(column, path) -%}
    cast({{ column }}:{{ json_path(path)[1:] }} as varchar)
{%- endmacro %}

{% macro redshift__json_text(column, path) -%}
    cast({{ column }}{{ json_path(path) }} as {{ warehouse_type('varchar') }})
{%- endmacro %}


{% macro json_number(column, path) -%}
    {{ text_as(json_text(column, path), 'double') }}
{%- endmacro %}


{% macro json_boolean(column, path) -%}
    {{ text_as(json_text(column, path), 'boolean') }}
{%- endmacro %}


{% macro json_object(column, path) -%}
    {{ return(adapter.dispatch('json_object', 'headrace')(column, path)) }}
{%- endmacro %}

{% macro default__json_object(column, path) -%}
    {#- A JSON null is no value, like everywhere else. -#}
    nullif(json_extract({{ column }}, '${{ json_path(path) }}'), cast('null' as json))
{%- endmacro %}

{% macro bigquery__json_object(column, path) -%}
    {%- set value = 'json_query(' ~ column ~ ", '$" ~ json_path(path) ~ "')" -%}
    case when json_type({{ value }}) <> 'null' then {{ value }} end
{%- endmacro %}

{% macro snowflake__json_object(column, path) -%}
    strip_null_value({{ column }}:{{ json_path(path)[1:] }})
{%- endmacro %}

{% macro redshift__json_object(column, path) -%}
    {%- set value = column ~ json_path(path) -%}
    case when json_typeof({{ value }}) <> 'null' then {{ value }} end
{%- endmacro %}


{% macro json_texts(column, paths) -%}
    {{ return(adapter.dispatch('json_texts', 'headrace')(column, paths)) }}
{%- endmacro %}

{% macro default__json_texts(column, paths) -%}
    {{ column }}
{%- endmacro %}

{% macro duckdb__json_texts(column, paths) -%}
    {#- DuckDB reads the text of the JSON anew for each call: once for 40 paths is 8 times as quick as 40 times. -#}
    json_extract_string({{ column }}, [
        {%- for path in paths %}
        '${{ json_path(path) }}'{{ ',' if not loop.last }}
        {%- endfor %}
    ])
{%- endmacro %}


{% macro json_texts_item(texts, paths, path) -%}
    {{ return(adapter.dispatch('json_texts_item', 'headrace')(texts, paths, path)) }}
{%- endmacro %}

{% macro default__json_texts_item(texts, paths, path) -%}
    {{ json_text(texts, path) }}
{%- endmacro %}

{% macro duckdb__json_texts_item(texts, paths, path) -%}
    {{ texts }}[{{ paths.index(path) + 1 }}]
{%- endmacro %}


{% macro text_as(text, data_type) -%}
    {{ return(adapter.dispatch('text_as', 'headrace')(text, data_type)) }}
{%- endmacro %}

{% macro default__text_as(text, data_type) -%}
    try_cast({{ text }} as {{ data_type }})
{%- endmacro %}

{% macro bigquery__text_as(text, data_type) -%}
    {%- if data_type == 'bigint' -%}
        safe_cast(round(safe_cast({{ text }} as bignumeric)) as int64)
    {%- elif data_type == 'boolean' -%}
        case
            when lower({{ text }}) in ('true', 't', 'yes', 'y', '1') then true
            when lower({{ text }}) in ('false', 'f', 'no', 'n', '0') then false
        end
    {%- else -%}
        safe_cast({{ text }} as {{ warehouse_type(data_type) }})
    {%- endif -%}
{%- endmacro %}

{% macro snowflake__text_as(text, data_type) -%}
    {%- if data_type == 'timestamptz' -%}
        cast(convert_timezone('UTC', try_cast({{ text }} as timestamp_tz)) as {{ type_timestamptz() }})
    {%- else -%}
        try_cast({{ text }} as {{ warehouse_type(data_type) }})
    {%- endif -%}
{%- endmacro %}

{% macro redshift__text_as(text, data_type) -%}
    {%- if data_type == 'bigint' -%}
        try_cast(round(try_cast({{ text }} as decimal(38, 9))) as bigint)
    {%- else -%}
        try_cast({{ text }} as {{ warehouse_type(data_type) }})
    {%- endif -%}
{%- endmacro %}
