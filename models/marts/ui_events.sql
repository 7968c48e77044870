{#- What the seed may ask of an event. -#}
{%- set properties = [
    'console_message_level', 'fs_dead_count', 'fs_error_kind', 'fs_rage_count', 'is_exception_handled',
    'navigate_reason', 'pinch_gesture_type', 'request_status',
] -%}
{#- A view: a name that is changed in the seed holds for all events, and none is written again. #}
with names as (
    select
        name,
        event_type,
        property,
        operator,
        value,
        case when operator = '>=' then cast(value as {{ dbt.type_float() }}) end as least_value
    from {{ ref('ui_event_names') }}
),

candidates as (
    select
        events.event_id,
        names.name,
        events.event_time,
        events.event_type,
        {{ full_session_id('events') }} as full_session_id,
        events.device_id,
        events.session_id,
        events.view_id,
        names.operator,
        names.value,
        names.least_value,
        case names.property
            {%- for property in properties %}
            when '{{ property }}' then {{ json_text('events.event_properties', property) }}
            {%- endfor %}
        end as property_value,
        case
            when names.operator <> '>=' then null
            {%- for property in properties %}
            when names.property = '{{ property }}' then {{ json_number('events.event_properties', property) }}
            {%- endfor %}
        end as property_number
    from {{ ref('events') }} as events
    inner join names on events.event_type = names.event_type
    where {{ is_late_enough('events.event_time') }}
)

select
    event_id,
    name,
    event_time,
    event_type,
    full_session_id,
    device_id,
    session_id,
    view_id
from candidates
where
    operator is null
    or (operator = '=' and property_value = value)
    or (operator = '>=' and property_number >= least_value)
    or (operator = 'is not null' and property_value is not null)
