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


{% macro json_texts(column, paths) -%}
    {{ return(adapter.dispatch('json_texts', 'headrace')(column, paths)) }}
{%- endmacro %}

{% macro default__json_texts(column, paths) -%}
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
    {{ texts }}[{{ paths.index(path) + 1 }}]
{%- endmacro %}


{% macro text_as(text, data_type) -%}
    {{ return(adapter.dispatch('text_as', 'headrace')(text, data_type)) }}
{%- endmacro %}

{% macro default__text_as(text, data_type) -%}
    try_cast({{ text }} as {{ data_type }})
{%- endmacro %}
