"""What the three services have in common: mechanism and vocabulary, no rule of the business."""
