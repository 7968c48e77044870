{%- set double = warehouse_type('double') -%}
{%- set age = elapsed('touch_time', 'last_touch_time', 'microsecond') -%}
{%- set half_life = 7 * 86400 * 1000000 -%}
{#- With the time, which an event has one of, so that a filter of it is applied before the touches are put in order. -#}
{%- set of_conversion = 'partition by conversion_name, event_id, event_time' %}
with touched as (
    select
        conversions.conversion_name,
        conversions.event_id,
        conversions.event_time,
        conversions.user_id,
        conversions.value,
        sessions.full_session_id as touch_session_id,
        sessions.start_time as touch_time,
        sessions.channel,
        sessions.traffic_source,
        sessions.traffic_medium,
        sessions.utm_campaign
    from {{ ref('conversions') }} as conversions
    inner join {{ ref('sessions') }} as sessions on conversions.user_id = sessions.user_id
    where
        not conversions.is_bot
        and not conversions.is_internal
        and not sessions.is_bot
        and not sessions.is_internal
        and (
            sessions.full_session_id = conversions.full_session_id
            or (
                sessions.start_time <= conversions.event_time
                and {{ elapsed('sessions.start_time', 'conversions.event_time', 'microsecond') }}
                <= {{ 86400 * 1000000 * var('touch_lookback_days') }}
            )
        )
),

ranked as (
    select
        touched.*,
        row_number() over (
            {{ of_conversion }}
            order by touch_time asc nulls last, touch_session_id asc
        ) as touch_number,
        count(*) over ({{ of_conversion }}) as total_touches,
        row_number() over (
            {{ of_conversion }}
            order by
                case when channel = 'Direct' then 1 else 0 end asc,
                touch_time desc nulls first,
                touch_session_id desc
        ) as last_non_direct_rank,
        max(touch_time) over ({{ of_conversion }}) as last_touch_time
    from touched
),

-- By its age at the last touch, which gives the same shares as by that at the conversion, however long ago both are.
-- Halved a thousand times it is as good as nothing, and some warehouses refuse a number that is closer to it.
decayed as (
    select
        ranked.*,
        power(
            cast(2 as {{ double }}),
            -least(
                coalesce(cast({{ age }} as {{ double }}) / {{ half_life }}, 0),
                1000
            )
        ) as decay
    from ranked
)

select
    conversion_name,
    event_id,
    event_time,
    user_id,
    value,
    touch_session_id,
    touch_time,
    touch_number,
    total_touches,
    channel,
    traffic_source,
    traffic_medium,
    utm_campaign,
    cast(case when touch_number = 1 then 1 else 0 end as {{ double }}) as first_touch,
    cast(case when touch_number = total_touches then 1 else 0 end as {{ double }}) as last_touch,
    cast(case when last_non_direct_rank = 1 then 1 else 0 end as {{ double }}) as last_non_direct,
    cast(1 as {{ double }}) / total_touches as linear,
    case
        when total_touches = 1 then cast(1 as {{ double }})
        when total_touches = 2 then cast(0.5 as {{ double }})
        when touch_number in (1, total_touches) then cast(0.4 as {{ double }})
        else cast(0.2 as {{ double }}) / nullif(total_touches - 2, 0)
    end as position_based,
    decay / sum(decay) over ({{ of_conversion }}) as time_decay
from decayed
