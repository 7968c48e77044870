{{ fact('keyboard_open') }}
