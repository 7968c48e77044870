-- Whom no identify event has named, before or since: a name without an id does not identify.
select
    devices.id as device_id,
    {{ last_of_device('devices') | indent(4) }}
from {{ ref('devices') }} as devices
left join {{ ref('int_device_identities') }} as identities on devices.id = identities.device_id
where identities.user_id is null
