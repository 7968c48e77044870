{{ config(materialized='view') }}

{%- set parsed_events, page_views = ref('int_parsed_events'), ref('int_page_views') -%}
{#- Asked for by views of pages, whether the vars have any. -#}
{%- do ref('page_definitions') -%}
{%- set steps = told_steps() -%}
{%- set of_events = conversions_of_events(steps) -%}
{%- set of_pages = steps | selectattr('page') | list %}

with events as (
    select parsed.*
    from {{ parsed_events }} as parsed
    where
        {{ is_late_enough('parsed.event_time') }}
        {%- if not of_events %}
        and 1 = 0
        {%- endif %}
),

event_names as (
    {{ conversion_names(of_events) | indent(4) }}
),
{%- if of_events | selectattr('event_definition') | list %}

others as (
    {{ other_event_definitions() | indent(4) }}
),
{%- endif %}

of_events as (
    select
        names.conversion_name,
        events.event_id,
        events.event_time,
        events.device_id,
        events.full_session_id,
        events.is_bot,
        events.is_internal
    from events
    cross join event_names as names
    where
        {{ is_any_conversion(of_events) | indent(4) }}
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
    conversion_name as step_name,
    event_id,
    event_time,
    device_id,
    full_session_id,
    is_bot,
    is_internal
from of_events
where conversion_name {{ in_conversions(steps | rejectattr('page') | list) }}
{%- if of_pages %}
union all
select
    names.conversion_name as step_name,
    views.event_id,
    views.start_time as event_time,
    cast(null as {{ warehouse_type('bigint') }}) as device_id,
    views.full_session_id,
    cast(null as {{ warehouse_type('boolean') }}) as is_bot,
    cast(null as {{ warehouse_type('boolean') }}) as is_internal
from views
cross join names
where
    {{- is_any_view(of_pages, 'of_events') }}
{%- endif %}
