package qupath.lib.objects

import java.awt.geom.AffineTransform

class PathObjectTools {
    static PathObject transformObject(PathObject object, AffineTransform transform, boolean copyMeasurements) {
        def move
        move = { it[0] instanceof Number ? [it[0] + transform.translateX, it[1] + transform.translateY] : it.collect(move) }
        def feature = object.feature
        def properties = feature.properties.findAll { it.key != 'name' && (copyMeasurements || it.key != 'measurements') }
        def geometry = [type: feature.geometry.type, coordinates: move(feature.geometry.coordinates)]
        new PathObject(feature: feature + [geometry: geometry, properties: properties])
    }
}
