{{ fact('pinch_gesture') }}
