{% macro json_path(path) -%}
    {%- for key in path.split('.') -%}."{{ key }}"{%- endfor -%}
{%- endmacro %}


{% macro parse_json(text) -%}
    {{ return(adapter.dispatch('headrace_parse_json', 'headrace')(text)) }}
{%- endmacro %}


{# No loader has looked at what someone else keeps. -#}
{% macro try_parse_json(text) -%}
    {{ return(adapter.dispatch('headrace_try_parse_json', 'headrace')(text)) }}
{%- endmacro %}


{# Without an offset a time means UTC, whatever the zone of the session. -#}
{% macro utc_or_cast(field, type) -%}
    {%- if type | lower in ('timestamptz', 'timestamp with time zone') and field is string -%}
        coalesce({{ text_as(field, 'timestamptz') }}, cast({{ field }} as {{ type }}))
    {%- else -%}
        cast({{ field }} as {{ type }})
    {%- endif -%}
{%- endmacro %}


{% macro text_literal(text) -%}
    {{ dbt.string_literal(dbt.escape_single_quotes(text)) }}
{%- endmacro %}


{% macro given_rows(types, common, rows) -%}
    {%- for row in rows -%}
    select
        {%- for name, data_type in types.items() %}
        {%- set value = row.get(name, common.get(name)) %}
        {%- set literal = 'null' if value is none else text_literal(value | string) %}
        {{ parse_json(literal) if data_type == 'json' and value is not none
            else utc_or_cast(literal, warehouse_type(data_type)) }} as {{ name }}
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
        {{ try_parse_json(column) }}
    {%- else -%}
        {{ column }}
    {%- endif -%}
{%- endmacro %}


{% macro json_text(column, path) -%}
    {{ return(adapter.dispatch('headrace_json_text', 'headrace')(column, path)) }}
{%- endmacro %}


{% macro json_number(column, path) -%}
    {{ text_as(json_text(column, path), 'double') }}
{%- endmacro %}


{% macro json_boolean(column, path) -%}
    {{ text_as(json_text(column, path), 'boolean') }}
{%- endmacro %}


{% macro json_object(column, path) -%}
    {{ return(adapter.dispatch('headrace_json_object', 'headrace')(column, path)) }}
{%- endmacro %}


{% macro json_items(rows, column) -%}
    {{ return(adapter.dispatch('headrace_json_items', 'headrace')(rows ~ '.' ~ column)) }}
{%- endmacro %}


{% macro json_item() -%}
    {{ return(adapter.dispatch('headrace_json_item', 'headrace')()) }}
{%- endmacro %}


{% macro json_texts(column, paths) -%}
    {{ return(adapter.dispatch('headrace_json_texts', 'headrace')(column, paths)) }}
{%- endmacro %}


{% macro json_texts_item(texts, paths, path) -%}
    {{ return(adapter.dispatch('headrace_json_texts_item', 'headrace')(texts, paths, path)) }}
{%- endmacro %}


{% macro text_as(text, data_type) -%}
    {%- if data_type == 'double' -%}
        {#- NaN sorts after every number, an infinity beyond them: neither is a measure. -#}
        {%- set number = try_cast(text, 'double') -%}
        case when abs({{ number }}) <= {{ greatest_double() }} then {{ number }} end
    {%- elif data_type == 'bigint' -%}
        {{ rounded(text) }}
    {%- elif data_type == 'boolean' -%}
        case
            when lower({{ text }}) in ('true', 't', 'yes', 'y', '1') then true
            when lower({{ text }}) in ('false', 'f', 'no', 'n', '0') then false
        end
    {%- elif data_type == 'timestamptz' -%}
        {%- set time = utc_time(text) -%}
        case
            when {{ time }} between {{ timestamptz('0001-01-01 00:00:00') }}
                and {{ timestamptz('9999-12-31 23:59:59.999999') }}
                then {{ time }}
        end
    {%- else -%}
        {{ try_cast(text, data_type) }}
    {%- endif -%}
{%- endmacro %}


{% macro greatest_double() -%}
    cast('1.7976931348623157e308' as {{ warehouse_type('double') }})
{%- endmacro %}


{% macro try_cast(text, data_type) -%}
    {{ return(adapter.dispatch('headrace_try_cast', 'headrace')(text, data_type)) }}
{%- endmacro %}


{% macro rounded(text) -%}
    {{ return(adapter.dispatch('headrace_rounded', 'headrace')(text)) }}
{%- endmacro %}


{# ISO 8601 and nothing else, as the warehouses agree on no more than that. -#}
{% macro utc_time(text) -%}
    {%- set local_time = '[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?)?' -%}
    {%- set offset = '(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)' -%}
    case
        when {{ matches(text, local_time) }} then {{ time_without_offset(text) }}
        when {{ matches(text, local_time ~ offset) }} then {{ time_with_offset(text) }}
    end
{%- endmacro %}


{% macro matches(text, pattern) -%}
    {{ return(adapter.dispatch('headrace_matches', 'headrace')(text, pattern)) }}
{%- endmacro %}


{# A cast would read it in the zone of the session. -#}
{% macro time_without_offset(text) -%}
    {{ return(adapter.dispatch('headrace_time_without_offset', 'headrace')(text)) }}
{%- endmacro %}


{% macro time_with_offset(text) -%}
    {{ return(adapter.dispatch('headrace_time_with_offset', 'headrace')(text)) }}
{%- endmacro %}
