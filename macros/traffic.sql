{# What is not of the people that a product is made for: bots, and those who make it (the var internal_traffic). #}

{% macro is_bot(user_agent) -%}
    {#- Cubot makes phones. -#}
    {%- set text = dbt.replace('lower(' ~ user_agent ~ ')', "'cubot'", "''") -%}
    {%- set found = [] -%}
    {%- for word in var('bot_user_agents') -%}
        {%- do found.append(text ~ ' like ' ~ text_literal('%' ~ word | lower ~ '%')) -%}
    {%- endfor -%}
    coalesce({{ found | join('\n            or ') or 'false' }}, false)
{%- endmacro %}


{% macro internal_traffic(part) -%}
    {%- set told = var('internal_traffic') or {} -%}
    {%- if told is not mapping or (told.keys() | reject('in', ['networks', 'hosts', 'users']) | list) -%}
        {%- do exceptions.raise_compiler_error(
            'internal_traffic has networks, hosts and users, as in {hosts: [localhost]}, not ' ~ told
        ) -%}
    {%- endif -%}
    {%- set found = told.get(part) or [] -%}
    {%- if found is string or found is not sequence -%}
        {%- do exceptions.raise_compiler_error('internal_traffic: ' ~ part ~ ' is a list, not ' ~ found) -%}
    {%- endif -%}
    {{ return(found | map('string') | map('trim') | map('lower') | list) }}
{%- endmacro %}


{% macro is_internal(ip_address, host) -%}
    {%- set found = [] -%}
    {%- for network in internal_traffic('networks') -%}
        {%- do found.append(matches('lower(' ~ ip_address ~ ')', network_pattern(network))) -%}
    {%- endfor -%}
    {%- for name in internal_traffic('hosts') -%}
        {%- if not modules.re.fullmatch('([*][.])?[-._a-z0-9\u00a1-\uffff]+', name) -%}
            {%- do exceptions.raise_compiler_error(
                'internal_traffic: ' ~ name ~ ' is no host: write one such as staging.shop.example, or *.shop.example '
                ~ 'for all below it'
            ) -%}
        {%- endif -%}
        {%- set text = without('lower(' ~ host ~ ')', [':[0-9]*$']) -%}
        {%- do found.append(
            text ~ (" like '%" ~ name[1:] ~ "'" if name.startswith('*') else " = '" ~ name ~ "'")
        ) -%}
    {%- endfor -%}
    coalesce({{ found | join('\n            or ') or 'false' }}, false)
{%- endmacro %}


{# As text, since no two engines have the same functions for addresses. -#}
{% macro network_pattern(network) -%}
    {%- set address, _, bits = network.partition('/') -%}
    {%- set is_v4 = modules.re.fullmatch('([0-9]{1,3}[.]){3}[0-9]{1,3}', address) -%}
    {%- set octets = address.split('.') | map('int') | list -%}
    {%- set size = (bits or ('32' if is_v4 else '128')) | int(-1) -%}
    {%- if is_v4 and 8 <= size <= 32 and octets | max <= 255 -%}
        {%- set parts = octets[:size // 8] -%}
        {%- if size % 8 -%}
            {%- set count = 2 ** (8 - size % 8) -%}
            {%- set first = octets[size // 8] // count * count -%}
            {%- do parts.append('(' ~ range(first, first + count) | join('|') ~ ')') -%}
        {%- endif -%}
        {{ return(parts | join('[.]') ~ ('[.].*' if parts | length < 4 else '')) }}
    {%- elif ':' in address and modules.re.fullmatch('[0-9a-f:]+', address) -%}
        {%- set groups = [] -%}
        {%- for group in address.partition('::')[0].split(':')[:size // 16] if group.strip('0') -%}
            {%- do groups.append('0*' ~ group.lstrip('0')) -%}
        {%- endfor -%}
        {%- if size >= 16 and groups | length * 16 == size -%}
            {{ return(groups | join(':') ~ (':.*' if size < 128 else '')) }}
        {%- elif size == 128 -%}
            {{ return(address) }}
        {%- endif -%}
    {%- endif -%}
    {%- do exceptions.raise_compiler_error(
        'internal_traffic: ' ~ network ~ ' is no network that can be told by the text of an address: write one such as '
        ~ '203.0.113.0/24, of 8 bits or more, or 2001:db8:1::/48, of a multiple of 16 and without a group of zeros'
    ) -%}
{%- endmacro %}


{% macro is_internal_user(user_id, user_email) -%}
    {%- set ids, found = [], [] -%}
    {%- for user in internal_traffic('users') -%}
        {%- if '\\' in user or '%' in user or '\n' in user -%}
            {%- do exceptions.raise_compiler_error(
                'internal_traffic: ' ~ user ~ ' is no user: write an id, or the end of e-mail addresses such as @shop.example'
            ) -%}
        {%- elif user.startswith('@') -%}
            {%- do found.append('lower(' ~ user_email ~ ') like ' ~ text_literal('%' ~ user)) -%}
        {%- else -%}
            {%- do ids.append(text_literal(user)) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if ids -%}
        {%- do found.append('lower(' ~ user_id ~ ') in (' ~ ids | join(', ') ~ ')') -%}
    {%- endif -%}
    coalesce({{ found | join(' or ') or 'false' }}, false)
{%- endmacro %}


{% macro with_internal_users(user_id) -%}
    {#- Asked for whatever the var says, so that unit tests have the same inputs. -#}
    {%- set users = ref('int_users') -%}
    {%- if internal_traffic('users') -%}
    left join {{ users }} as known_users on {{ user_id }} = known_users.user_id
    {%- endif -%}
{%- endmacro %}
