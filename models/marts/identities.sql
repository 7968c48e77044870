with uids_of_devices as (
    select
        device_id,
        user_id as uid,
        min(event_time) as first_time
    from {{ ref('int_identifies') }}
    where
        user_id is not null
        and device_id is not null
    group by device_id, user_id
),

ranked as (
    select
        uids_of_devices.*,
        row_number() over (
            partition by device_id
            order by first_time nulls last, uid
        ) as uid_rank
    from uids_of_devices
),

-- A device with more than one uid, from when its second one came.
merged_devices as (
    select
        device_id,
        first_time as merged_time
    from ranked
    where uid_rank = 2
),

devices as (
    select
        ranked.uid,
        count(*) as devices,
        count(merged_devices.device_id) as shared_devices,
        min(merged_devices.merged_time) as merged_time
    from ranked
    left join merged_devices on ranked.device_id = merged_devices.device_id
    group by ranked.uid
),

shared as (
    select
        uids_of_devices.uid,
        count(distinct other_uids.uid) as merged_uids
    from uids_of_devices
    inner join uids_of_devices as other_uids
        on uids_of_devices.device_id = other_uids.device_id and uids_of_devices.uid <> other_uids.uid
    group by uids_of_devices.uid
),

seen as (
    select
        user_id as uid,
        first_time,
        last_time
    from {{ ref('int_users') }}
    union all
    select
        user_id as uid,
        min(start_time) as first_time,
        max(end_time) as last_time
    from {{ ref('sessions') }}
    group by user_id
),

times as (
    select
        uid,
        min(first_time) as first_seen,
        max(last_time) as last_seen
    from seen
    group by uid
)

select
    users.user_id as uid,
    users.user_email,
    users.user_display_name,
    coalesce(devices.devices, 0) as devices,
    times.first_seen,
    times.last_seen,
    coalesce(devices.shared_devices, 0) as shared_devices,
    coalesce(shared.merged_uids, 0) as merged_uids,
    devices.merged_time
from {{ ref('int_users') }} as users
inner join times on users.user_id = times.uid
left join devices on users.user_id = devices.uid
left join shared on users.user_id = shared.uid
where users.is_identified
