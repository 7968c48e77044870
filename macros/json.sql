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


{% macro json_text(column, path) -%}
    {{ return(adapter.dispatch('json_text', 'headrace')(column, path)) }}
{%- endmacro %}

{% macro default__json_text(column, path) -%}
    json_extract_string({{ column }}, '${{ json_path(path) }}')
{%- endmacro %}


{% macro json_number(column, path) -%}
    {{ return(adapter.dispatch('json_number', 'headrace')(column, path)) }}
{%- endmacro %}

{% macro default__json_number(column, path) -%}
    try_cast({{ json_text(column, path) }} as double)
{%- endmacro %}


{% macro json_boolean(column, path) -%}
    {{ return(adapter.dispatch('json_boolean', 'headrace')(column, path)) }}
{%- endmacro %}

{% macro default__json_boolean(column, path) -%}
    try_cast({{ json_text(column, path) }} as boolean)
{%- endmacro %}


{% macro json_object(column, path) -%}
    {{ return(adapter.dispatch('json_object', 'headrace')(column, path)) }}
{%- endmacro %}

{% macro default__json_object(column, path) -%}
    {#- A JSON null is no value, like everywhere else. -#}
    nullif(json_extract({{ column }}, '${{ json_path(path) }}'), cast('null' as json))
{%- endmacro %}
