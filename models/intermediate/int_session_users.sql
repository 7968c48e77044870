{#- Not private: funnel and retention read it from whatever project they are called in. -#}
{{ config(materialized='view', access='protected') }}

with named as (
    select
        device_id,
        {{ full_session_id('identifies') }} as full_session_id,
        user_id,
        event_time,
        {{ from_last('device_id, session_id') }} as rank_in_session,
        row_number() over (
            partition by device_id
            order by event_time nulls first, processed_time nulls first, event_id
        ) as place
    from {{ ref('int_identifies') }} as identifies
    where
        user_id is not null
        and device_id is not null
),

-- A session belongs to the user that its own last identify names.
by_themselves as (
    select
        full_session_id,
        user_id
    from named
    where
        full_session_id is not null
        and rank_in_session = 1
),

-- The others, by their end, among all identifies of their device. (A join by times would compare each with each.)
in_order as (
    select
        device_id,
        cast(null as {{ warehouse_type('varchar') }}) as full_session_id,
        event_time,
        1 as is_identify
    from named
    union all
    select
        sessions.device_id,
        sessions.full_session_id,
        sessions.end_time as event_time,
        0 as is_identify
    from {{ ref('int_sessions') }} as sessions
    left join by_themselves on sessions.full_session_id = by_themselves.full_session_id
    where
        by_themselves.full_session_id is null
        and sessions.device_id in (select devices.device_id from named as devices)
),

placed as (
    select
        device_id,
        full_session_id,
        sum(is_identify) over (
            partition by device_id
            order by event_time asc nulls first, is_identify desc
            rows between unbounded preceding and current row
        ) as identifies_before
    from in_order
)

select
    full_session_id,
    user_id
from by_themselves
union all
-- The last that named a user before the session ended, else the first after it.
select
    placed.full_session_id,
    named.user_id
from placed
inner join named on placed.device_id = named.device_id and greatest(placed.identifies_before, 1) = named.place
where placed.full_session_id is not null
