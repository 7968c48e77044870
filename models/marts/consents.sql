with said as (
    select
        events.event_id,
        events.event_time,
        events.processed_time,
        {{ person('events') | indent(8) }} as user_id,
        events.consent_scope as scope,
        events.consent_action_type as action_type,
        case when events.is_consent_given then 1 else 0 end as is_given
    from {{ ref('int_parsed_events') }} as events
    {{ with_person('events') | indent(4) }}
    where
        events.event_type = 'consent'
        and {{ is_of_person('events') }}
        and events.is_consent_given is not null
),

in_order as (
    select
        said.*,
        lag(is_given) over (
            partition by user_id, scope
            order by event_time nulls first, processed_time nulls first, event_id
        ) as given_before,
        {{ from_last('user_id, scope') }} as rank_from_last
    from said
    where user_id is not null
),

totals as (
    select
        user_id,
        scope,
        max(case when rank_from_last = 1 then is_given end) as is_given,
        max(case when rank_from_last = 1 then action_type end) as action_type,
        min(event_time) as first_time,
        -- What is said once more changes nothing.
        max(case when given_before is null or is_given <> given_before then event_time end) as changed_time,
        max(event_time) as last_time,
        max(case when is_given = 1 then event_time end) as given_time,
        count(case when is_given <> given_before then 1 end) as changes,
        count(*) as events
    from in_order
    group by user_id, scope
)

select
    user_id,
    scope,
    is_given = 1 as is_given,
    action_type,
    first_time,
    changed_time,
    given_time,
    last_time,
    changes,
    events
from totals
