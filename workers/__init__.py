"""What runs where the GPU is: trials, data sets, and the dispatcher that brings them there."""
