{{ config(unique_key='id') }}

{{ definitions('event') }}
