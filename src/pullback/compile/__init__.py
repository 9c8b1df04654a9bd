"""The compiler: functions and training steps as native code, gradients included."""
