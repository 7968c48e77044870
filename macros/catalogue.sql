{# What makes the relations of the analysis schema from the var event_catalogue. #}

{% macro fact(event_type) -%}
    {{ per_event(['identifiers', event_type]) }}
where event_type = '{{ event_type }}'
{%- endmacro %}


{% macro per_event(sections) -%}
{%- set otherwise = {
    'id': 'events.event_id',
    'session_id': 'events.full_session_id',
    'user_id': 'cast(events.device_id as ' ~ dbt.type_string() ~ ')',
    'current_page_definition_id': current_page_definition_id('events', as_of='today') if 'current_page' in sections,
    'current_element_definition_id': current_element_definition_id('events', as_of='today')
        if 'current_element' in sections,
} -%}
{%- set columns = [] -%}
{%- for section in sections -%}
    {%- for column in var('event_catalogue')[section] -%}
        {%- do columns.append(
            otherwise[column.name] ~ ' as ' ~ column.name if column.name in otherwise else 'events.' ~ column.name
        ) -%}
    {%- endfor -%}
    {%- for column in catalogue_additions(section) -%}
        {%- do columns.append(
            inner_property('events.' ~ section, column) | trim ~ ' as ' ~ column.name
            if section in inner_sections() else 'events.' ~ column.name
        ) -%}
    {%- endfor -%}
{%- endfor -%}
select
    {{ columns | join(',\n    ') }}
from {{ ref('int_parsed_events') }} as events
{%- if 'current_page' in sections %}
{{ with_page('events', as_of='today') }}
{%- endif %}
{%- if 'current_element' in sections %}
{{ with_element('events', as_of='today') }}
{%- endif %}
{%- endmacro %}


{% macro inner_sections() -%}
    {{ return(['user_properties', 'page_properties', 'element_properties']) }}
{%- endmacro %}


{% macro inner_property(object, column) -%}
    {%- set path = column.get('config', {}).get('meta', {}).get('path', column.name) -%}
    {%- if column.data_type == 'json' -%}
        {{ json_object(object, path) }}
    {%- elif column.data_type == 'varchar' -%}
        {{ json_text(object, path) }}
    {%- else -%}
        {{ text_as(json_text(object, path), column.data_type) }}
    {%- endif -%}
{%- endmacro %}


{% macro catalogue_columns(section) -%}
    {{ return(var('event_catalogue').get(section, []) + catalogue_additions(section)) }}
{%- endmacro %}


{% macro catalogue_additions(section) -%}
    {%- set catalogue, additions = var('event_catalogue'), var('event_catalogue_additions') -%}
    {%- set fixed = ['identifiers', 'event_key', 'events', 'current_page', 'current_element'] -%}
    {%- set types = ['varchar', 'bigint', 'double', 'boolean', 'date', 'timestamptz', 'json'] -%}
    {%- set keys = ['name', 'data_type', 'description', 'data_tests', 'config'] -%}
    {%- for unknown in additions | reject('in', catalogue) | list + additions | select('in', fixed) | list -%}
        {%- do exceptions.raise_compiler_error(
            'event_catalogue_additions: there is no section ' ~ unknown ~ '. There are '
            ~ catalogue | reject('in', fixed) | join(', ') ~ '.'
        ) -%}
    {%- endfor -%}
    {%- set taken = (catalogue.event_key + catalogue.identifiers + catalogue.get(section, [])) | map(attribute='name')
        | list -%}
    {%- for column in additions.get(section, []) -%}
        {%- set place = 'event_catalogue_additions: the column ' ~ column.name ~ ' of ' ~ section -%}
        {%- for unknown in column | reject('in', keys) | list
            + column.get('config', {}) | reject('equalto', 'meta') | list
            + column.get('config', {}).get('meta', {}) | reject('equalto', 'path') | list -%}
            {%- do exceptions.raise_compiler_error(
                place ~ ' has a key ' ~ unknown ~ ', which is none. There are ' ~ keys | join(', ')
                ~ '; and the path is config: {meta: {path: …}}.'
            ) -%}
        {%- endfor -%}
        {%- if not column.name or column.data_type not in types -%}
            {%- do exceptions.raise_compiler_error(
                place ~ ' needs a name and a data_type. The types are ' ~ types | join(', ') ~ '.'
            ) -%}
        {%- endif -%}
        {%- if column.name in taken -%}
            {%- do exceptions.raise_compiler_error(
                place ~ ' is there already. Give this one a name of its own, and its path.'
            ) -%}
        {%- endif -%}
        {%- do taken.append(column.name) -%}
    {%- endfor -%}
    {{ return(additions.get(section, [])) }}
{%- endmacro %}


{% macro event_columns() -%}
    {%- set others = [
        'identifiers', 'event_key', 'events', 'current_page', 'current_element', 'source_properties'
    ] + inner_sections() -%}
    {%- set taken = [] -%}
    {%- for section in others if section != 'user_properties' -%}
        {%- do taken.extend(var('event_catalogue')[section] | map(attribute='name')) -%}
    {%- endfor -%}
    {%- do taken.extend(catalogue_additions('source_properties') | map(attribute='name')) -%}
    {%- set columns = {} -%}
    {%- for event_type in var('event_catalogue') if event_type not in others -%}
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
    {%- set object, _, part = path.rpartition('.') -%}
    {%- if column.data_type == 'json' -%}
        {{ json_object(properties, path) }}
    {%- elif object in ('url', 'initial_referrer', 'request_url')
        and part in ('full_url', 'host', 'path', 'query', 'hash_path', 'hash_query') -%}
        {{ url_property(
            part, json_texts_item(texts, paths, path), json_texts_item(texts, paths, object ~ '.full_url')
        ) }}
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


{% test accepted_values_in_run(model, accepted) %}
{%- for column, values in accepted.items() %}
select
    '{{ column }}' as column_name,
    {{ column }} as value,
    count(*) as occurrences
from {{ model }}
where
    _invocation_id = '{{ invocation_id }}'
    and {{ in_touched_days('event_time') }}
    and {{ column }} not in ('{{ values | join("', '") }}')
group by {{ column }}
{{ 'union all' if not loop.last }}
{%- endfor %}
{% endtest %}
