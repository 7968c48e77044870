{{ fact('mouse_thrash') }}
