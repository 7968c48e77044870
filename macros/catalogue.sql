{# What makes the relations of the analysis schema from the var event_catalogue. #}

{% macro fact(event_type) -%}
    {{ per_event([event_type, 'source_properties']) }}
where event_type = '{{ event_type }}'
{%- endmacro %}


{% macro per_event(sections) -%}
select
    event_id as id,
    event_id,
    event_time,
    full_session_id as session_id,
    view_id,
    cast(device_id as {{ dbt.type_string() }}) as user_id
    {%- for section in sections %}
    {%- for column in catalogue_columns(section) %},
    {{ column.name }}
    {%- endfor %}
    {%- endfor %}
from {{ ref('int_parsed_events') }}
{%- endmacro %}


{% macro catalogue_columns(section) -%}
    {{ return(var('event_catalogue').get(section, []) + var('event_catalogue_additions').get(section, [])) }}
{%- endmacro %}


{% macro event_columns() -%}
    {%- set of_every_event = ['identifiers', 'events', 'element_properties', 'page_properties', 'source_properties'] -%}
    {%- set taken = [] -%}
    {%- for section in of_every_event -%}
        {%- do taken.extend(catalogue_columns(section) | map(attribute='name')) -%}
    {%- endfor -%}
    {%- set columns = {} -%}
    {%- for event_type in (var('event_catalogue') | list + var('event_catalogue_additions') | list) | unique
        if event_type not in of_every_event -%}
        {%- for column in catalogue_columns(event_type) -%}
            {%- set same = columns.setdefault(column.name, column) -%}
            {%- if column.name in taken
                or column.data_type != same.data_type
                or property_path(column) != property_path(same) -%}
                {%- do exceptions.raise_compiler_error(
                    'event_catalogue: another column has the name of ' ~ event_type ~ "'s " ~ column.name
                    ~ ', but another path or type. Give this one a name of its own, and its path.'
                ) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(columns.values() | list) }}
{%- endmacro %}


{% macro property(properties, column, texts, paths) -%}
    {%- set path = property_path(column) -%}
    {%- if column.data_type == 'json' -%}
        {{ json_object(properties, path) }}
    {%- elif column.data_type == 'varchar' -%}
        {{ json_texts_item(texts, paths, path) }}
    {%- else -%}
        {{ text_as(json_texts_item(texts, paths, path), column.data_type) }}
    {%- endif -%}
{%- endmacro %}


{% macro property_path(column) -%}
    {%- set path = column.get('config', {}).get('meta', {}).get('path') -%}
    {%- if path -%}
        {{ return(path) }}
    {%- endif -%}
    {%- for object in [
        'target', 'request_url', 'url', 'initial_referrer', 'location', 'user_agent', 'device', 'app'
    ] if column.name.startswith(object ~ '_') -%}
        {{ return(object ~ '.' ~ column.name[object | length + 1:]) }}
    {%- endfor -%}
    {{ return(column.name) }}
{%- endmacro %}


{% macro property_paths(columns) -%}
    {%- set paths = [] -%}
    {%- for column in columns -%}
        {%- do paths.append(property_path(column)) -%}
    {%- endfor -%}
    {{ return(paths) }}
{%- endmacro %}


{% test accepted_values_in_run(model, column_name, values) %}
select {{ column_name }}
from {{ model }}
where
    _invocation_id = '{{ invocation_id }}'
    and {{ batch_days('event_time') }}
    and {{ column_name }} not in ('{{ values | join("', '") }}')
{% endtest %}
