-- Whom no identify event has named, before or since: a name without an id does not identify.
with ranked as (
    select
        sessions.*,
        {{ rank_of_session('device_id') }} as rank_from_last
    from {{ ref('sessions') }} as sessions
)

select
    last_sessions.device_id,
    {{ last_of_session('last_sessions') | indent(4) }}
from ranked as last_sessions
left join {{ ref('int_device_identities') }} as identities
    on last_sessions.device_id = cast(identities.device_id as {{ dbt.type_string() }})
where
    last_sessions.rank_from_last = 1
    and identities.user_id is null
