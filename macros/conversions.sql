{# What counts as a conversion, as the var conversions says it. #}

{% macro counted_conversions() -%}
    {%- set told = var('conversions') or [] -%}
    {%- set example = '[{name: Order, event_name: Order Completed, value: order.total}]' -%}
    {%- if told is string or told is mapping or told is not sequence -%}
        {%- do exceptions.raise_compiler_error('conversions is a list, such as ' ~ example ~ ', not ' ~ told) -%}
    {%- endif -%}
    {%- set keys = ['name', 'event_type', 'event_name', 'event_definition', 'page', 'value'] -%}
    {%- set found = {} -%}
    {%- for entry in told -%}
        {%- if entry is not mapping -%}
            {%- do exceptions.raise_compiler_error(
                'conversions: each entry is a mapping, as in ' ~ example ~ ', not ' ~ entry
            ) -%}
        {%- endif -%}
        {%- for key in entry if key not in keys -%}
            {%- do refuse_conversion(entry, 'has the key ' ~ key ~ '; known are ' ~ keys | join(', ')) -%}
        {%- endfor -%}
        {%- set conversion = {} -%}
        {%- for key in keys -%}
            {%- set text = entry.get(key) -%}
            {%- if text is none -%}
                {%- do conversion.update({key: none}) -%}
            {%- elif text is boolean or not (text is string or text is number) or text | string | trim == '' -%}
                {%- do refuse_conversion(entry, key ~ ' is a text, not ' ~ text) -%}
            {%- elif '\\' in text | string or '\n' in text | string -%}
                {%- do refuse_conversion(entry, key ~ ' has a backslash or a line break: write it without') -%}
            {%- else -%}
                {%- do conversion.update({key: text | string}) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if conversion.name is none -%}
            {%- do refuse_conversion(entry, 'needs a name') -%}
        {%- elif conversion.name in found -%}
            {%- do refuse_conversion(entry, 'is there twice: give each a name of its own') -%}
        {%- elif not (conversion.event_type or conversion.event_name or conversion.event_definition or conversion.page) -%}
            {%- do refuse_conversion(
                entry, 'says not what counts: write event_name, event_type, event_definition or page'
            ) -%}
        {%- elif conversion.page and conversion.event_name -%}
            {%- do refuse_conversion(
                entry, 'page counts views of a page, which have no event_name: leave out one of them'
            ) -%}
        {%- elif conversion.page and conversion.event_type not in (none, 'page_view', 'navigate') -%}
            {%- do refuse_conversion(
                entry, 'page counts views of a page: leave out the event_type ' ~ conversion.event_type
            ) -%}
        {%- elif conversion.event_name and conversion.event_type not in (none, 'custom') -%}
            {%- do refuse_conversion(
                entry, 'event_name is the name of a custom event: leave out the event_type ' ~ conversion.event_type
            ) -%}
        {%- elif conversion.value and (conversion.page or conversion.event_type not in (none, 'custom')) -%}
            {%- do refuse_conversion(
                entry, 'only custom events have properties of their own: leave out value, or count them by event_name'
            ) -%}
        {%- elif conversion.value and not modules.re.fullmatch('[^".\']+([.][^".\']+)*', conversion.value) -%}
            {%- do refuse_conversion(
                entry, 'value is the path of a property by dots, such as order.total, not ' ~ conversion.value
            ) -%}
        {%- endif -%}
        {%- do found.update({conversion.name: conversion}) -%}
    {%- endfor -%}
    {{ return(found.values() | list) }}
{%- endmacro %}


{% macro refuse_conversion(entry, why) -%}
    {%- set name = entry.get('name') -%}
    {%- do exceptions.raise_compiler_error('conversions: ' ~ (entry if name is none else name) ~ ': ' ~ why) -%}
{%- endmacro %}


{% macro conversions_of_events() -%}
    {%- set found = [] -%}
    {%- for conversion in counted_conversions() if conversion.event_definition or not conversion.page -%}
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
