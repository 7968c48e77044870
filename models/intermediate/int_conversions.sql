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

views as (
    {{ named_page_views(page_views) | indent(4) }}
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
    {{- is_any_view(of_pages, converting_events) }}
{%- endif %}
