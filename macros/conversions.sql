{# What counts as a conversion, as the var conversions says it. #}

{% macro counted_conversions() -%}
    {{ return(what_counts(
        'conversions', var('conversions') or [],
        ['name', 'event_type', 'event_name', 'event_definition', 'page', 'value'],
        '[{name: Order, event_name: Order Completed, value: order.total}]',
    )) }}
{%- endmacro %}


{% macro what_counts(place, told, keys, example) -%}
    {%- if told is string or told is mapping or told is not sequence -%}
        {%- do exceptions.raise_compiler_error(place ~ ' is a list, such as ' ~ example ~ ', not ' ~ told) -%}
    {%- endif -%}
    {%- set found = {} -%}
    {%- for entry in told -%}
        {%- if entry is not mapping -%}
            {%- do exceptions.raise_compiler_error(
                place ~ ': each entry is a mapping, as in ' ~ example ~ ', not ' ~ entry
            ) -%}
        {%- endif -%}
        {%- for key in entry if key not in keys -%}
            {%- do refuse_conversion(place, entry, 'has the key ' ~ key ~ '; known are ' ~ keys | join(', ')) -%}
        {%- endfor -%}
        {%- set conversion = {} -%}
        {%- for key in keys -%}
            {%- set text = entry.get(key) -%}
            {%- if text is none -%}
                {%- do conversion.update({key: none}) -%}
            {%- elif text is boolean or not (text is string or text is number) or text | string | trim == '' -%}
                {%- do refuse_conversion(place, entry, key ~ ' is a text, not ' ~ text) -%}
            {%- elif '\\' in text | string or '\n' in text | string -%}
                {%- do refuse_conversion(place, entry, key ~ ' has a backslash or a line break: write it without') -%}
            {%- else -%}
                {%- do conversion.update({key: text | string}) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if conversion.name is none -%}
            {%- do refuse_conversion(place, entry, 'needs a name') -%}
        {%- elif conversion.name in found -%}
            {%- do refuse_conversion(place, entry, 'is there twice: give each a name of its own') -%}
        {%- elif not (conversion.event_type or conversion.event_name or conversion.event_definition or conversion.page) -%}
            {%- do refuse_conversion(
                place, entry, 'says not what counts: write event_name, event_type, event_definition or page'
            ) -%}
        {%- elif conversion.page and conversion.event_name -%}
            {%- do refuse_conversion(
                place, entry, 'page counts views of a page, which have no event_name: leave out one of them'
            ) -%}
        {%- elif conversion.page and conversion.event_type not in (none, 'page_view', 'navigate') -%}
            {%- do refuse_conversion(
                place, entry, 'page counts views of a page: leave out the event_type ' ~ conversion.event_type
            ) -%}
        {%- elif conversion.event_name and conversion.event_type not in (none, 'custom') -%}
            {%- do refuse_conversion(
                place, entry, 'event_name is the name of a custom event: leave out the event_type ' ~ conversion.event_type
            ) -%}
        {%- elif conversion.value and (conversion.page or conversion.event_type not in (none, 'custom')) -%}
            {%- do refuse_conversion(
                place, entry, 'only custom events have properties of their own: leave out value, or count them by event_name'
            ) -%}
        {%- elif conversion.value and not modules.re.fullmatch('[^".\']+([.][^".\']+)*', conversion.value) -%}
            {%- do refuse_conversion(
                place, entry, 'value is the path of a property by dots, such as order.total, not ' ~ conversion.value
            ) -%}
        {%- endif -%}
        {%- do found.update({conversion.name: conversion}) -%}
    {%- endfor -%}
    {{ return(found.values() | list) }}
{%- endmacro %}


{% macro refuse_conversion(place, entry, why) -%}
    {%- set name = entry.get('name') -%}
    {%- do exceptions.raise_compiler_error(place ~ ': ' ~ (entry if name is none else name) ~ ': ' ~ why) -%}
{%- endmacro %}


{% macro conversions_of_events(conversions) -%}
    {%- set found = [] -%}
    {%- for conversion in conversions if conversion.event_definition or not conversion.page -%}
        {%- do found.append(conversion) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


{% macro conversion_names(conversions) -%}
    {%- for conversion in conversions -%}
    select {{ text_literal(conversion.name) }} as conversion_name
    {{ 'union all' if not loop.last }}
    {% else -%}
    select cast(null as {{ warehouse_type('varchar') }}) as conversion_name
    {%- endfor -%}
{%- endmacro %}


{% macro in_conversions(conversions) -%}
    {#- None has a blank name. -#}
    {%- set names = [] -%}
    {%- for conversion in conversions -%}
        {%- do names.append(text_literal(conversion.name)) -%}
    {%- endfor -%}
    in ({{ names | join(', ') or "''" }})
{%- endmacro %}


{% macro conversion_value(conversions) -%}
    {%- set values = [] -%}
    {%- for conversion in conversions if conversion.value -%}
        {%- set number = json_number('events.event_properties', conversion.value) -%}
        {#- What a visitor can make up must not overflow a sum. -#}
        {%- do values.append(
            'when names.conversion_name = ' ~ text_literal(conversion.name)
            ~ '\n            and abs(' ~ number ~ ') <= 1e15'
            ~ '\n            then ' ~ number
        ) -%}
    {%- endfor -%}
    {%- if values -%}
    case
        {{ values | join('\n        ') }}
    end
    {%- else -%}
    cast(null as {{ warehouse_type('double') }})
    {%- endif -%}
{%- endmacro %}


{% macro is_any_conversion(conversions) -%}
    {%- set alternatives = [] -%}
    {%- for conversion in conversions -%}
        {%- do alternatives.append(
            '(names.conversion_name = ' ~ text_literal(conversion.name) ~ ' and ' ~ is_conversion(conversion) ~ ')'
        ) -%}
    {%- endfor -%}
    {{ alternatives | join('\n    or ') or '1 = 0' }}
{%- endmacro %}


{% macro is_conversion(conversion) -%}
    {%- set conditions = [] -%}
    {%- if conversion.page -%}
        {%- do conditions.append("events.event_type in ('page_view', 'navigate')") -%}
    {%- elif conversion.event_name -%}
        {%- do conditions.append("events.event_type = 'custom'") -%}
        {%- do conditions.append('events.event_name = ' ~ text_literal(conversion.event_name)) -%}
    {%- elif conversion.event_type -%}
        {%- do conditions.append('events.event_type = ' ~ text_literal(conversion.event_type)) -%}
    {%- endif -%}
    {%- if conversion.event_definition -%}
        {%- set definition = text_literal(conversion.event_definition) -%}
        {%- do conditions.append(
            '(events.event_definition_id = ' ~ definition ~ ' or events.event_id in ('
            ~ 'select others.event_id from others where others.event_definition_id = ' ~ definition ~ '))'
        ) -%}
    {%- endif -%}
    {{ conditions | join(' and ') }}
{%- endmacro %}


{% macro other_event_definitions() -%}
select
    events.event_id,
    {{ json_item() }} as event_definition_id
from events
{{ json_items('events', 'additional_event_definition_ids') }}
{%- endmacro %}


{# What is a view of which page follows the definitions, so that nothing of it is stored. #}
{% macro named_page_views(page_views) -%}
select
    views.event_id,
    views.start_time,
    views.full_session_id,
    views.is_estimated,
    coalesce(
        {{ current_page_definition_id('views') | indent(8) }},
        {{ page_by_rule() }},
        views.undefined_page_id
    ) as page_id,
    coalesce(definitions.name, views.page_name) as page_name
from {{ page_views }} as views
{{ with_page('views') }}
left join {{ ref('page_definitions') }} as definitions
    on {{ current_page_definition_id('views') | indent(8) }} = definitions.id
{%- endmacro %}


{% macro is_any_view(conversions, converting_events) -%}
    {%- for conversion in conversions %}
    {%- set name, page = text_literal(conversion.name), text_literal(conversion.page) %}
    {{ 'or ' if not loop.first }}(
        names.conversion_name = {{ name }}
        and (views.page_id = {{ page }} or views.page_name = {{ page }})
        {%- if conversion.event_type %}
        and {{ 'not ' if conversion.event_type == 'page_view' }}views.is_estimated
        {%- endif %}
        {%- if conversion.event_definition %}
        and views.event_id in (
            select defined.event_id from {{ converting_events }} as defined where defined.conversion_name = {{ name }}
        )
        {%- endif %}
    )
    {%- endfor %}
{%- endmacro %}
