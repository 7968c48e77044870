{{ config(materialized='view') }}

{%- set converting_events, page_views = ref('int_converting_events'), ref('int_page_views') -%}
{%- set conversions = counted_conversions() -%}
{%- set of_pages = conversions | selectattr('page') | list -%}
{%- set of_events = conversions | rejectattr('page') | list %}

with of_events as (
    select
        events.conversion_name,
        events.event_id,
        events.event_time,
        events.device_id,
        events.full_session_id,
        events.value,
        coalesce(
            {{ current_page_definition_id('events') | indent(12) }},
            {{ page_by_rule() }},
            events.undefined_page_id
        ) as page_id,
        coalesce(definitions.name, events.page_label) as page_name,
        events.is_bot
    from {{ converting_events }} as events
    {{ with_page('events') | indent(4) }}
    left join {{ ref('page_definitions') }} as definitions
        on {{ current_page_definition_id('events') | indent(12) }} = definitions.id
    where events.conversion_name {{ in_conversions(of_events) }}
)
{%- if of_pages %},

names as (
    {{ conversion_names(of_pages) | indent(4) }}
),

-- What is a view of which page follows the definitions, so that nothing of it is stored.
views as (
    select
        views.event_id,
        views.start_time,
        views.full_session_id,
        views.is_estimated,
        coalesce(
            {{ current_page_definition_id('views') | indent(12) }},
            {{ page_by_rule() }},
            views.undefined_page_id
        ) as page_id,
        coalesce(definitions.name, views.page_name) as page_name
    from {{ page_views }} as views
    {{ with_page('views') | indent(4) }}
    left join {{ ref('page_definitions') }} as definitions
        on {{ current_page_definition_id('views') | indent(12) }} = definitions.id
)
{%- endif %}

select
    conversion_name,
    event_id,
    event_time,
    device_id,
    full_session_id,
    value,
    page_id,
    page_name,
    is_bot
from of_events
{%- if of_pages %}
union all
select
    names.conversion_name,
    views.event_id,
    views.start_time as event_time,
    cast(null as {{ warehouse_type('bigint') }}) as device_id,
    views.full_session_id,
    cast(null as {{ warehouse_type('double') }}) as value,
    views.page_id,
    views.page_name,
    cast(null as {{ warehouse_type('boolean') }}) as is_bot
from views
cross join names
where
    {%- for conversion in of_pages %}
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
{%- endif %}
